"""The GPUs of each worker, for the pages to show."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column; workers fill it with their next beat."""
    op.add_column("workers", sa.Column("gpus", sa.Text(), server_default="[]", nullable=False))
