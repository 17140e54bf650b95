"""Whether the node can do its work: the database answers, the data folder can be written, the disk has room."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import sqlalchemy as sa
from cachetools import TTLCache, cached

from dicom_node.config import Config
from dicom_node.database import Database
from dicom_node.disk import DiskSpace, disk_space
from dicom_node.tables import StudyRow

_LISTENS_SECONDS = 0.2


def measured_disk(config: Config) -> DiskSpace | None:
    """The room on the disk of the data folder, None where the folder is not there."""
    try:
        return disk_space(config)
    except OSError:
        return None


@cached(TTLCache(maxsize=8, ttl=5.0), key=lambda config: (config.receive.host, config.receive.port))
def receiver_answers(config: Config) -> bool | None:
    """Whether something listens where the receiver does; None where receivers may run on other machines."""
    if not config.database_url.startswith("sqlite"):
        return None
    receive = config.receive
    host = "127.0.0.1" if receive.host in ("0.0.0.0", "::", "") else receive.host  # noqa: S104 - it is compared
    port = receive.port if receive.plain or receive.tls is None else receive.tls.port
    try:
        with socket.create_connection((host, port), timeout=_LISTENS_SECONDS):
            return True
    except OSError:
        return False


def readiness_problems(config: Config, database: Database) -> tuple[str, ...]:
    """What keeps the node from working, in sentences; empty when it is ready."""
    folder = config.node.data_folder.absolute()
    found = (_database_problem(database), _folder_problem(folder), _disk_problem(config, folder))
    return tuple(problem for problem in found if problem is not None)


def _database_problem(database: Database) -> str | None:
    try:
        with database.reading() as session:
            session.execute(sa.select(StudyRow.study_instance_uid).limit(1))
    except sa.exc.SQLAlchemyError as error:
        return (
            f"The database cannot be read, or its tables are missing ({type(error).__name__}): run 'dicom-node check'."
        )
    return None


def _folder_problem(folder: Path) -> str | None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return f"The data folder {folder} cannot be written: {error.strerror}."


def _disk_problem(config: Config, folder: Path) -> str | None:
    disk = measured_disk(config)
    if disk is None or not disk.is_short:
        return None
    return (
        f"The disk of {folder} has {disk.free_megabytes} MB free, {disk.needed_megabytes} MB are needed "
        "(receive.minimum_free_megabytes and receive.maximum_disk_percent): images are refused."
    )
