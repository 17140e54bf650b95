"""An index for the search by modality, which PostgreSQL would answer by reading every series."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create the index."""
    op.create_index("series_by_modality", "series", ["modality", "study_instance_uid"])
