"""``dicom-node workers``: who works on this node's studies, who is silent, and whose work others are to take over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
import typer
from rich.table import Table
from sqlalchemy.orm import Session

from dicom_node.console import ConfigOption, console, fail, read_config
from dicom_node.database import Database
from dicom_node.liveness import WorkerState, give_up_on, known_workers

workers = typer.Typer(no_args_is_help=True, help="The workers that share this node's database.")


@workers.command("list")
def list_workers(config: ConfigOption = None) -> None:
    """All workers, and whether they are alive."""
    with _session(config) as session:
        known, at = known_workers(session)
    table = Table("worker", "host", "version", "state")
    for worker in known:
        table.add_row(worker.worker_id, worker.host, worker.version, _in_words(worker, at))
    console.print(table)


@workers.command("take-over")
def take_over(
    worker_id: Annotated[str, typer.Argument(metavar="ID", help="The worker.id of one that will not return.")],
    config: ConfigOption = None,
) -> None:
    """Let the workers that run take over a dead one's studies at once instead of after half a minute."""
    with _session(config) as session:
        if not give_up_on(session, worker_id):
            raise fail(f"no worker has the id {worker_id!r}: see 'dicom-node workers list'")
        session.commit()
    console.print(f"the studies of {worker_id} are taken over by the next worker that looks, within seconds")


def _in_words(worker: WorkerState, at: datetime) -> str:
    if worker.is_alive(at):
        return "alive" + (f": {worker.trouble}" if worker.trouble else "")
    if worker.stopped_at is not None:
        return f"stopped since {worker.stopped_at:%Y-%m-%d %H:%M:%S} UTC"
    words = f"silent since {worker.beat_at:%Y-%m-%d %H:%M:%S} UTC"
    return words + ("; its work was taken over" if worker.taken_over_at is not None else "")


@contextmanager
def _session(config: Path | None) -> Iterator[Session]:
    database = Database(read_config(config).database_url)
    try:
        database.create_tables()
        with database.session() as session:
            yield session
    except sa.exc.SQLAlchemyError as error:
        raise fail(f"the database does not answer ({type(error).__name__}): see 'dicom-node check'") from error
    finally:
        database.close()
