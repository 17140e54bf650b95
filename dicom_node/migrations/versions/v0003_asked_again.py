"""Analyses that were asked for once more."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column."""
    op.add_column("analyses", sa.Column("asked_again_at", sa.DateTime(timezone=True), nullable=True))
