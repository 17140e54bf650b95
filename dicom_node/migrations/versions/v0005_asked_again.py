"""Analyses that were asked for once more, and indexes for what the pages ask of large databases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_PREFIXES = ("accession_number", "patient_id", "patient_name")


def upgrade() -> None:
    """Add the column and the indexes; the one by accession number anew, so that PostgreSQL finds beginnings by it."""
    op.add_column("analyses", sa.Column("asked_again_at", sa.DateTime(timezone=True), nullable=True))
    op.drop_index("studies_by_accession_number", "studies")
    for column in _PREFIXES:
        op.create_index(f"studies_by_{column}", "studies", [column], postgresql_ops={column: "text_pattern_ops"})
    op.create_index("studies_by_source", "studies", ["calling_ae_title", "last_received_at", "study_instance_uid"])
    op.create_index("deliveries_by_destination", "deliveries", ["destination", "delivered_at"])
