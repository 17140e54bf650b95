"""Removes from a bucket what no row names: what a crash or a fault left there, and instances that came again."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dicom_node.config import Config
from dicom_node.database import Database
from dicom_node.stored_files import StoredFiles
from dicom_node.tables import AnalysisRow, InstanceRow, ResultRow, StudyRow

log = logging.getLogger(__name__)

_LEAST_AGE = timedelta(days=1)
"""An object is put there before its row is committed, by a minute at most; clocks differ by more."""


def remove_leftovers(config: Config, database: Database, files: StoredFiles, at: datetime) -> int:
    """Look through all that is held outside of the data folder; returns how many files went.

    Of studies that the database does not know nothing goes: it may have been restored from a backup.

    Raises:
        OSError: the bucket does not work now.
    """
    count = 0
    for paths in files.stored_before(at - _LEAST_AGE):
        with database.reading() as session:
            left = leftovers(session, config, paths)
        files.remove(left)
        count += len(left)
    if count:
        log.info("removed %d files from the store that nothing refers to", count)
    return count


def leftovers(session: Session, config: Config, paths: Sequence[Path]) -> list[Path]:
    """Those of the files of known studies that are neither a held instance nor a result of a study that is held."""
    depth = len(config.instances_folder.parts)
    studies = {path: path.parts[depth] for path in paths}
    query = sa.select(StudyRow.study_instance_uid).where(StudyRow.study_instance_uid.in_(set(studies.values())))
    known = set(session.scalars(query))
    # By UID, which is indexed: it is what a file's name begins with, up to the token and the digest.
    uids = {path.name.rsplit(".", 3)[0] for path in paths}
    instances = sa.select(InstanceRow.path).where(InstanceRow.sop_instance_uid.in_(uids))
    results = (
        sa.select(ResultRow.path)
        .join(AnalysisRow)
        .join(StudyRow)
        .where(ResultRow.sop_instance_uid.in_(uids), StudyRow.removed_at.is_(None))
    )
    needed = {config.instances_folder / path for path in session.scalars(instances)}
    needed |= {config.results_folder / path for path in session.scalars(results)}
    return [path for path, study in studies.items() if study in known and path not in needed]
