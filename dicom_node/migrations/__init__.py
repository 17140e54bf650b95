"""Brings the domain tables of an earlier release up to date: forward only, at the start of any process.

One script a change lies in ``versions/``. ``CONTRIBUTING.md`` says how one is made; a test holds the migrated
schema against the models in ``tables.py``, so that none is forgotten.
"""

from __future__ import annotations

import logging
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

log = logging.getLogger(__name__)

_FIRST_REVISION = "0001"
_POSTGRESQL_LOCK = 0x0D1C0
"""Key of the advisory lock under which one process at a time migrates."""


class NewerDatabase(Exception):
    """The tables are of a newer release of the node than this one; the text says what to do."""


def bring_up_to_date(engine: sa.Engine) -> None:
    """Create the tables, or change those of an earlier release; several processes may call this at once.

    Everything happens in one transaction under a lock: the second process waits, and finds nothing to do. When a
    migration fails, the database is as it was.

    Raises:
        NewerDatabase: the tables are of a newer release; there is no way back.
    """
    with engine.connect() as connection:
        sqlite = engine.dialect.name == "sqlite"
        if sqlite:
            # Most changes of a SQLite table make it anew. Its foreign keys must not act meanwhile, and can only be
            # switched off outside a transaction, so below SQLAlchemy, which would begin one.
            connection.connection.cursor().execute("PRAGMA foreign_keys=OFF")
        try:
            with connection.begin():
                if not sqlite:
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_POSTGRESQL_LOCK)))
                _migrate(connection)
        finally:
            if sqlite:
                connection.connection.cursor().execute("PRAGMA foreign_keys=ON")


def _migrate(connection: sa.Connection) -> None:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent))
    scripts = ScriptDirectory.from_config(config)
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision == scripts.get_current_head():
        return
    if revision is not None and revision not in {script.revision for script in scripts.walk_revisions()}:
        raise NewerDatabase(
            f"the database is of a newer release (revision {revision}): install that release again, or restore the "
            "backup made before it"
        )
    if revision is None and sa.inspect(connection).has_table("studies"):
        command.stamp(config, _FIRST_REVISION)  # the first release kept no revision
    command.upgrade(config, "head")
    log.info("the database has been brought up to date: revision %s", scripts.get_current_head())
