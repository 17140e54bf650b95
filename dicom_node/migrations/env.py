"""Alembic's entry: runs the migrations on the connection it is given, or for developers on the configured database."""

from __future__ import annotations

from typing import Any, Literal

import sqlalchemy as sa
from alembic import context
from alembic.autogenerate.api import AutogenContext

from dicom_node.config import load_config
from dicom_node.database import Database
from dicom_node.tables import Base


def _plain_type(kind: str, value: Any, _context: AutogenContext) -> str | Literal[False]:
    """Write column types as the database knows them: a migration must not change when our types do."""
    if kind != "type":
        return False
    plain = value.impl_instance if isinstance(value, sa.types.TypeDecorator) else value
    if isinstance(plain, sa.Enum):
        plain = sa.String(plain.length)
    return f"sa.{plain!r}"


def _run(connection: sa.Connection) -> None:
    context.configure(
        connection,
        target_metadata=Base.metadata,
        render_as_batch=True,
        transactional_ddl=True,
        render_item=_plain_type,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    _run(given)
else:
    with Database(load_config().database_url).engine.begin() as own:
        _run(own)
