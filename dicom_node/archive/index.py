"""The SQL index of what the store holds, written in groups: one commit for all instances that wait for one.

On SQLite the commits are not synced: the files are, and hold everything that the rows say (``archive/recovery.py``).
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import configure_mappers

from dicom_node.archive.header import InstanceHeader
from dicom_node.database import Database, now
from dicom_node.domain import Association, StudyState
from dicom_node.passing import in_words, passes
from dicom_node.receive.refusal import Reason, Refused
from dicom_node.tables import EventRow, InstanceRow, SeriesRow, StudyRow

log = logging.getLogger(__name__)

_LARGEST_GROUP = 128
_ATTEMPTS = 3

# The statements of every single instance, in the expression language: the ORM's unit of work costs ten times as much.
_LOOK_UP = sa.select(
    sa.select(InstanceRow.series_instance_uid)
    .where(InstanceRow.sop_instance_uid == sa.bindparam("i"))
    .scalar_subquery(),
    sa.select(SeriesRow.study_instance_uid)
    .where(SeriesRow.series_instance_uid == sa.bindparam("se"))
    .scalar_subquery(),
    sa.select(StudyRow.state).where(StudyRow.study_instance_uid == sa.bindparam("st")).scalar_subquery(),
)
_LOCK_STUDIES = (
    sa.select(StudyRow.study_instance_uid)
    .where(StudyRow.study_instance_uid.in_(sa.bindparam("uids", expanding=True)))
    .order_by(StudyRow.study_instance_uid)
    .with_for_update()
)
_REPLACE_INSTANCE = sa.update(InstanceRow).where(InstanceRow.sop_instance_uid == sa.bindparam("i"))
_INSERT_STUDY = sa.insert(StudyRow)
_INSERT_EVENT = sa.insert(EventRow)
_INSERT_SERIES = sa.insert(SeriesRow)
_INSERT_INSTANCE = sa.insert(InstanceRow)
_OF_STUDY = sa.update(StudyRow).where(StudyRow.study_instance_uid == sa.bindparam("st"))
_UPDATE_STUDY = _OF_STUDY.values(last_received_at=sa.bindparam("at"), removed_at=None)
_AWAIT_COMPLETENESS = _UPDATE_STUDY.values(
    state=StudyState.RECEIVING,
    reason="",
    state_changed_at=sa.bindparam("at"),
    waiting_since=sa.bindparam("at"),
    released_at=None,
)


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One stored instance, to be indexed: ``file`` lies at ``path`` in the store's folder."""

    header: InstanceHeader
    association: Association
    path: str
    size_bytes: int
    file: Path


class InstanceIndex:
    """Writes received instances to the database; one thread of this process at a time.

    ``add`` returns once the row is committed. The first thread to come writes, and takes along what other
    associations have brought meanwhile: they share a commit, so that the cost of durability is paid once a group and
    SQLite never sees two writers from here, and a single association changes no threads. With ``synced``, commits on
    SQLite outlast the machine's end.
    """

    def __init__(self, database: Database, *, synced: bool = False) -> None:
        self._engine = database.engine if synced else database.unsynced
        self._waiting: deque[tuple[IndexEntry, Future[None]]] = deque()
        self._writing = threading.Lock()
        configure_mappers()  # takes 0.1 s, which the first instance need not wait for

    def add(self, entry: IndexEntry) -> None:
        """Index one instance; returns once it is committed.

        Raises:
            Refused: the database cannot be written (0xA700) or the instance contradicts what is held (0xC000).
        """
        future: Future[None] = Future()
        self._waiting.append((entry, future))
        with self._writing:
            while not future.done():
                self._commit([self._waiting.popleft() for _ in range(min(_LARGEST_GROUP, len(self._waiting)))])
        future.result()

    def _commit(self, group: Sequence[tuple[IndexEntry, Future[None]]]) -> None:
        try:
            self._write([entry for entry, _ in group])
        except (Refused, sa.exc.SQLAlchemyError) as error:
            if len(group) > 1 and not passes(error):  # one bad instance must not take the others with it
                for member in group:
                    self._commit([member])
                return
            for _, future in group:
                future.set_exception(_as_refusal(error))
            return
        for _, future in group:
            future.set_result(None)

    def _write(self, entries: Sequence[IndexEntry]) -> None:
        # Always in the same order: receivers that make the same new studies then never wait for each other.
        entries = sorted(entries, key=lambda entry: entry.header.study_instance_uid)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with self._engine.begin() as connection:
                    _lock_studies(connection, entries)
                    for entry in entries:
                        _index(connection, entry)
                return
            except sa.exc.IntegrityError:
                # Another receiver process has inserted the same study, series or instance since we looked.
                if attempt == _ATTEMPTS:
                    raise


def _lock_studies(connection: sa.Connection, entries: Sequence[IndexEntry]) -> None:
    """Keep the studies from being queued, removed or added to until these instances are committed.

    Else a study could be queued between our look at its state and our commit, and never learn of the instance; and
    numbers of instances, which grow in the order of arrival, would not become visible in that order. SQLite has one
    writer at a time.
    """
    if connection.dialect.name != "sqlite":
        connection.execute(_LOCK_STUDIES, {"uids": sorted({entry.header.study_instance_uid for entry in entries})})


def _as_refusal(error: Refused | sa.exc.SQLAlchemyError) -> Refused:
    if isinstance(error, Refused):
        return error
    # One line: while a database is away, this is said of every image that comes.
    log.error("the index does not work: %s", in_words(error) if passes(error) else type(error).__name__)
    return Refused(Reason.INDEX_FAILED, f"the index does not work ({type(error).__name__})")


def _look_up(connection: sa.Connection, header: InstanceHeader) -> tuple[bool, bool, StudyState | None]:
    """Whether the instance and its series are held, and the state of its study, None where that is new.

    Raises:
        Refused: the instance or its series is held elsewhere.
    """
    uids = {"i": header.sop_instance_uid, "se": header.series_instance_uid, "st": header.study_instance_uid}
    series, study, state = connection.execute(_LOOK_UP, uids).one()
    if series is not None and series != header.series_instance_uid:
        raise Refused(Reason.UID_CONFLICT, "SOP Instance UID is already held in another series")
    if study is not None and study != header.study_instance_uid:
        raise Refused(Reason.UID_CONFLICT, "Series Instance UID is already held in another study")
    return series is not None, study is not None, state


def _index(connection: sa.Connection, entry: IndexEntry) -> None:
    header = entry.header
    instance_held, series_held, state = _look_up(connection, header)
    if instance_held:
        # Sent again: the newest file is kept, and nothing new is asked of the models.
        file = {"path": entry.path, "size_bytes": entry.size_bytes, "transfer_syntax_uid": header.transfer_syntax_uid}
        connection.execute(_REPLACE_INSTANCE, {"i": header.sop_instance_uid, **file})
        return
    at = now()
    if state is None:
        connection.execute(_INSERT_STUDY, _new_study(entry, at))
        text = f"First instance received from {entry.association.calling_ae_title}."
        event = {"study_instance_uid": header.study_instance_uid, "at": at, "text": text}
        connection.execute(_INSERT_EVENT, event)
    if not series_held:
        connection.execute(_INSERT_SERIES, _new_series(header))
    connection.execute(_INSERT_INSTANCE, _new_instance(entry, at))
    if header.analysable and state is not StudyState.RECEIVING:
        # Something new to analyse has come: whatever the study's state was, wait for the rest of it.
        connection.execute(_AWAIT_COMPLETENESS, {"st": header.study_instance_uid, "at": at})
    else:
        connection.execute(_UPDATE_STUDY, {"st": header.study_instance_uid, "at": at})
    if not entry.file.exists():
        raise Refused(Reason.STORE_FAILED, "the study was being removed at this moment: send it again")


def _new_study(entry: IndexEntry, at: datetime) -> dict[str, object]:
    header = entry.header
    return {
        "study_instance_uid": header.study_instance_uid,
        "state": StudyState.RECEIVING,
        "patient_name": header.patient_name,
        "patient_id": header.patient_id,
        "accession_number": header.accession_number,
        "study_date": header.study_date,
        "study_description": header.study_description,
        "calling_ae_title": entry.association.calling_ae_title[:16],
        "first_received_at": at,
        "last_received_at": at,
        "waiting_since": at,
        "state_changed_at": at,
    }


def _new_series(header: InstanceHeader) -> dict[str, object]:
    return {
        "series_instance_uid": header.series_instance_uid,
        "study_instance_uid": header.study_instance_uid,
        "modality": header.modality[:16],
        "series_number": header.series_number,
        "series_description": header.series_description,
        "body_part_examined": header.body_part_examined,
    }


def _new_instance(entry: IndexEntry, at: datetime) -> dict[str, object]:
    header = entry.header
    return {
        "sop_instance_uid": header.sop_instance_uid,
        "series_instance_uid": header.series_instance_uid,
        "study_instance_uid": header.study_instance_uid,
        "sop_class_uid": header.sop_class_uid,
        "transfer_syntax_uid": header.transfer_syntax_uid,
        "analysable": header.analysable,
        "path": entry.path,
        "size_bytes": entry.size_bytes,
        "received_at": at,
    }
