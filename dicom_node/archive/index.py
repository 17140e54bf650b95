"""The SQL index of what the store holds, written in groups: one commit for all instances that wait for one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dicom_node.archive.header import InstanceHeader
from dicom_node.database import Database, EventRow, InstanceRow, SeriesRow, StudyRow, now
from dicom_node.domain import Association, StudyState
from dicom_node.receive.refusal import Refused, StoreStatus

log = logging.getLogger(__name__)

_LARGEST_GROUP = 128
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One stored instance, to be indexed."""

    header: InstanceHeader
    association: Association
    path: str
    size_bytes: int


class InstanceIndex:
    """Owns the one thread of this process that writes received instances to the database.

    ``add`` blocks until the row is committed. Instances of other associations that arrive meanwhile share the
    next commit, so that the cost of durability is paid once a group and SQLite never sees two writers from here.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: SimpleQueue[tuple[IndexEntry, Future[None]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="instance-index", daemon=True)
        self._thread.start()

    def check(self, header: InstanceHeader) -> None:
        """Refuse an instance whose UID, or whose series' UID, is already held in another study.

        Raises:
            Refused: with 0xC000, since to take it would break the model of the real world (PS3.3 7), or with 0xA700
                if the database cannot be read.
        """
        try:
            with self._database.reading() as session:
                _check_belongs(session, header)
        except sa.exc.SQLAlchemyError as error:
            raise _as_refusal(error) from error

    def add(self, entry: IndexEntry) -> None:
        """Index one instance; returns once it is committed.

        Raises:
            Refused: the database cannot be written (0xA700) or the instance contradicts what is held (0xC000).
        """
        future: Future[None] = Future()
        self._waiting.put((entry, future))
        future.result()

    def close(self) -> None:
        """Finish what waits, and end the thread."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            group = [first]
            closing = False
            while len(group) < _LARGEST_GROUP and not self._waiting.empty():
                item = self._waiting.get()
                if item is None:
                    closing = True
                    break
                group.append(item)
            self._commit(group)
            if closing:
                return

    def _commit(self, group: Sequence[tuple[IndexEntry, Future[None]]]) -> None:
        try:
            self._write([entry for entry, _ in group])
        except (Refused, sa.exc.SQLAlchemyError) as error:
            if len(group) > 1:  # one bad instance must not take the others with it
                for member in group:
                    self._commit([member])
                return
            group[0][1].set_exception(_as_refusal(error))
            return
        for _, future in group:
            future.set_result(None)

    def _write(self, entries: Sequence[IndexEntry]) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with self._database.session.begin() as session:
                    for entry in entries:
                        _index(session, entry)
                return
            except sa.exc.IntegrityError:
                # Another receiver process has inserted the same study, series or instance since we looked.
                if attempt == _ATTEMPTS:
                    raise


def _as_refusal(error: Refused | sa.exc.SQLAlchemyError) -> Refused:
    if isinstance(error, Refused):
        return error
    log.error("the index does not work", exc_info=error)
    return Refused(StoreStatus.OUT_OF_RESOURCES, f"the index does not work ({type(error).__name__})")


def _check_belongs(session: Session, header: InstanceHeader) -> None:
    held = session.scalar(
        sa.select(InstanceRow.series_instance_uid).where(InstanceRow.sop_instance_uid == header.sop_instance_uid)
    )
    if held is not None and held != header.series_instance_uid:
        raise Refused(StoreStatus.CANNOT_UNDERSTAND, "SOP Instance UID is already held in another series")
    study = session.scalar(
        sa.select(SeriesRow.study_instance_uid).where(SeriesRow.series_instance_uid == header.series_instance_uid)
    )
    if study is not None and study != header.study_instance_uid:
        raise Refused(StoreStatus.CANNOT_UNDERSTAND, "Series Instance UID is already held in another study")


def _index(session: Session, entry: IndexEntry) -> None:
    header = entry.header
    _check_belongs(session, header)
    at = now()
    known = session.scalar(sa.select(InstanceRow).where(InstanceRow.sop_instance_uid == header.sop_instance_uid))
    if known is not None:
        # Sent again: the newest file is kept, and nothing new is asked of the models.
        known.path, known.size_bytes = entry.path, entry.size_bytes
        known.transfer_syntax_uid = header.transfer_syntax_uid
        return
    study = session.get(StudyRow, header.study_instance_uid)
    if study is None:
        study = _new_study(entry)
        session.add(study)
        session.add(
            EventRow(
                study_instance_uid=study.study_instance_uid,
                at=at,
                text=f"First instance received from {entry.association.calling_ae_title}.",
            )
        )
        session.flush()
    if session.get(SeriesRow, header.series_instance_uid) is None:
        session.add(
            SeriesRow(
                series_instance_uid=header.series_instance_uid,
                study_instance_uid=header.study_instance_uid,
                modality=header.modality[:16],
                series_number=header.series_number,
                series_description=header.series_description,
                body_part_examined=header.body_part_examined,
            )
        )
        session.flush()
    session.add(
        InstanceRow(
            sop_instance_uid=header.sop_instance_uid,
            series_instance_uid=header.series_instance_uid,
            study_instance_uid=header.study_instance_uid,
            sop_class_uid=header.sop_class_uid,
            transfer_syntax_uid=header.transfer_syntax_uid,
            analysable=header.analysable,
            path=entry.path,
            size_bytes=entry.size_bytes,
            received_at=at,
        )
    )
    study.last_received_at = at
    if header.analysable:
        _await_completeness(study)


def _new_study(entry: IndexEntry) -> StudyRow:
    header, at = entry.header, now()
    return StudyRow(
        study_instance_uid=header.study_instance_uid,
        state=StudyState.RECEIVING,
        patient_name=header.patient_name,
        patient_id=header.patient_id,
        accession_number=header.accession_number,
        study_date=header.study_date,
        study_description=header.study_description,
        calling_ae_title=entry.association.calling_ae_title[:16],
        first_received_at=at,
        last_received_at=at,
        waiting_since=at,
        state_changed_at=at,
    )


def _await_completeness(study: StudyRow) -> None:
    """Something new to analyse has come: whatever the study's state was, wait for the rest of it."""
    if study.state is not StudyState.RECEIVING:
        study.state = StudyState.RECEIVING
        study.state_changed_at = study.waiting_since = study.last_received_at
        study.reason = ""
        study.released_at = None
