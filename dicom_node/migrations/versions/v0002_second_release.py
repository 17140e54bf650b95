"""Second release: removed studies, interrupted analyses, storage commitment."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Change the schema."""
    op.create_table(
        "commitment_requests",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("calling_ae_title", sa.String(length=16), nullable=False),
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("instances", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("calling_ae_title", "transaction_uid"),
    )
    op.create_index("ix_commitment_requests_closed_at", "commitment_requests", ["closed_at"])

    op.add_column("analyses", sa.Column("interrupted", sa.Integer(), server_default="0", nullable=False))

    op.add_column("deliveries", sa.Column("transaction_uid", sa.String(length=64), nullable=True))
    op.add_column("deliveries", sa.Column("committed_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_deliveries_transaction_uid", "deliveries", ["transaction_uid"])

    op.add_column("studies", sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True))
