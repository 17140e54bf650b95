"""Whether the node can do its work: the database answers, the data folder can be written, the disk has room."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import sqlalchemy as sa

from dicom_node.config import Config
from dicom_node.database import Database, StudyRow


def free_megabytes(folder: Path) -> int | None:
    """Free space in MiB on the disk that holds ``folder``, None where the folder is not there."""
    try:
        return shutil.disk_usage(folder).free // (1 << 20)
    except OSError:
        return None


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
    free, minimum = free_megabytes(folder), config.receive.minimum_free_megabytes
    if free is None or free >= minimum:
        return None
    return f"The disk of {folder} has {free} MB free, below receive.minimum_free_megabytes ({minimum} MB)."
