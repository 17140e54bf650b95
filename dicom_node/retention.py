"""Makes room: removes the files of studies whose work is done, some days after it was done or when the disk fills up.

The rows stay, and so the history: what was analysed, found, delivered and when. Only the rows of instances go with
their files, since they say what is held. A study that comes again is held again, and what was asked of it before is
not asked a second time.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dicom_node.config import Config
from dicom_node.database import Database, now
from dicom_node.disk import disk_space
from dicom_node.domain import DeliveryState, StudyState
from dicom_node.leftovers import remove_leftovers
from dicom_node.periodic import Periodic
from dicom_node.stored_files import StoredFiles
from dicom_node.tables import AnalysisRow, DeliveryRow, EventRow, InstanceRow, RefusalRow, ResultRow, StudyRow

log = logging.getLogger(__name__)

_EVERY_SECONDS = 60.0
_LOOK_THROUGH_EVERY = timedelta(hours=6)
_LEAST_HISTORY = timedelta(days=2)
"""Longer than any workflow's name is begun again: a peer's question for storage commitment is answered for a day."""
_ENDED = (StudyState.DELIVERED, StudyState.NOT_APPLICABLE, StudyState.FAILED, StudyState.CANCELLED)
_UNDELIVERED = (DeliveryState.PENDING, DeliveryState.RETRYING)


@dataclass(frozen=True, slots=True)
class EndedStudy:
    """A study whose files may go; ``ended_at`` is when its outcome was known or its last instance came."""

    study_instance_uid: str
    ended_at: datetime


def is_due(study: EndedStudy, days: float, at: datetime) -> bool:
    """Whether the files go whatever room there is."""
    return at - study.ended_at >= timedelta(days=days)


def ended_studies(
    session: Session, committing: Sequence[str], study_instance_uid: str | None = None
) -> list[EndedStudy]:
    """The studies that hold files and have no work left, oldest first.

    Work is left while one is received or analysed, a result is to be delivered, or one of the destinations
    ``committing`` has not yet taken responsibility for it.
    """
    unfinished = sa.and_(
        DeliveryRow.analysis_id == AnalysisRow.analysis_id,
        AnalysisRow.study_instance_uid == StudyRow.study_instance_uid,
        sa.or_(
            DeliveryRow.state.in_(_UNDELIVERED),
            sa.and_(
                DeliveryRow.state == DeliveryState.DELIVERED,
                DeliveryRow.destination.in_(committing),
                DeliveryRow.committed_at.is_(None),
            ),
        ),
    )
    query = sa.select(StudyRow).where(
        StudyRow.state.in_(_ENDED), StudyRow.removed_at.is_(None), ~sa.exists().where(unfinished)
    )
    if study_instance_uid is not None:
        query = query.where(StudyRow.study_instance_uid == study_instance_uid).with_for_update()
    found = [
        EndedStudy(row.study_instance_uid, max(row.state_changed_at, row.last_received_at))
        for row in session.scalars(query)
    ]
    return sorted(found, key=lambda study: study.ended_at)


class Retention:
    """Owns the removal of files, in a thread of the worker; several workers may look at once.

    What lies in a bucket goes after the rows that named it; what a crash between the two leaves is found by a look
    through the bucket (``leftovers.py``). ``forget_workflows`` removes the workflow engine's rows of what was begun
    before a time and has ended.
    """

    def __init__(
        self, config: Config, database: Database, files: StoredFiles, forget_workflows: Callable[[datetime], int]
    ) -> None:
        self._config = config
        self._database = database
        self._files = files
        self._next_look = now() + _LOOK_THROUGH_EVERY
        self._forget_workflows = forget_workflows
        self._committing = [peer.name for peer in config.destinations if peer.storage_commitment]
        self._thread = Periodic("retention", _EVERY_SECONDS, lambda: self.make_room(now()))

    def start(self) -> None:
        """Finish what an earlier process began, and look for what is due from time to time."""
        self.recover()
        self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._thread.stop()

    def make_room(self, at: datetime) -> None:
        """Remove what is due at ``at``, and while the disk fills up the oldest beyond that; prune old records."""
        settings = self._config.retention
        self._forget_workflows(at - max(timedelta(days=settings.study_days), _LEAST_HISTORY))
        with self._database.session.begin() as session:
            session.execute(sa.delete(RefusalRow).where(RefusalRow.at < at - timedelta(days=settings.refusal_days)))
        with self._database.reading() as session:
            studies = ended_studies(session, self._committing)
        for study in studies:
            if self._thread.stopping.is_set():
                return
            if is_due(study, settings.study_days, at):
                self._remove(study.study_instance_uid, f"{settings.study_days:g} days after its work was done")
            elif self._config.store is None and disk_space(self._config).is_scarce:
                self._remove(study.study_instance_uid, "early, because the disk fills up")
            else:
                break
        if at >= self._next_look:
            self._next_look = at + _LOOK_THROUGH_EVERY
            remove_leftovers(self._config, self._database, self._files, at)

    def _remove(self, study_instance_uid: str, why: str) -> None:
        """Remove the files of a study, unless work has come for it since we looked.

        They are first moved away, in the transaction that strikes out their rows: an instance that arrives at this
        moment is either seen here, or finds its file gone and is refused (``archive/index.py``).
        """
        moved: list[tuple[Path, Path]] = []
        try:
            with self._database.session.begin() as session:
                if not ended_studies(session, self._committing, study_instance_uid):
                    return
                held = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(InstanceRow.size_bytes), 0)).where(
                    InstanceRow.study_instance_uid == study_instance_uid
                )
                count, size = session.execute(held).one()
                stored = self._stored(session, study_instance_uid)
                session.execute(sa.delete(InstanceRow).where(InstanceRow.study_instance_uid == study_instance_uid))
                session.get_one(StudyRow, study_instance_uid).removed_at = now()
                text = (
                    f"Removed from the node's disk {why}: {count} images ({int(size) >> 20} MB) and the result files."
                )
                session.add(EventRow(study_instance_uid=study_instance_uid, at=now(), text=text))
                session.flush()
                for source, target in self._places(study_instance_uid):
                    if source.is_dir():
                        target.parent.mkdir(parents=True, exist_ok=True)
                        source.rename(target)
                        moved.append((source, target))
                        _sync(source.parent)
                        _sync(target.parent)
        except BaseException:
            for source, target in moved:
                target.rename(source)
            raise
        for _, target in moved:
            shutil.rmtree(target, ignore_errors=True)
        self._files.remove(stored)
        log.info("removed study %s %s", study_instance_uid, why)

    def recover(self) -> None:
        """End removals that a killed process left half-way: forward where the rows are gone, else back."""
        for target in list(self._config.removing_folder.glob("*/*")):
            study_instance_uid = target.name
            with self._database.session.begin() as session:
                study = session.get(StudyRow, study_instance_uid, with_for_update=True)
                if study is not None and study.removed_at is None:
                    for source, place in self._places(study_instance_uid):
                        if place == target:
                            _put_back(target, source)
            shutil.rmtree(target, ignore_errors=True)

    def _stored(self, session: Session, study_instance_uid: str) -> list[Path]:
        """The study's files, as its rows name them."""
        instances = sa.select(InstanceRow.path).where(InstanceRow.study_instance_uid == study_instance_uid)
        of_study = AnalysisRow.study_instance_uid == study_instance_uid
        results = sa.select(ResultRow.path).join(AnalysisRow).where(of_study)
        return [
            *(self._config.instances_folder / path for path in session.scalars(instances)),
            *(self._config.results_folder / path for path in session.scalars(results)),
        ]

    def _places(self, study_instance_uid: str) -> list[tuple[Path, Path]]:
        """Where the study's files lie, and where they lie while they are removed."""
        return [
            (folder / study_instance_uid, self._config.removing_folder / folder.name / study_instance_uid)
            for folder in (self._config.instances_folder, self._config.results_folder)
        ]


def _put_back(target: Path, source: Path) -> None:
    """Move files back to where they were, but for those that have come anew since."""
    for file in (path for path in target.rglob("*") if path.is_file()):
        place = source / file.relative_to(target)
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            file.rename(place)
            _sync(place.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
