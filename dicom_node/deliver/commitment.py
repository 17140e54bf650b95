"""Storage commitment as rows: what destinations are asked for and say, what peers ask and are answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from pydicom import Dataset
from pydicom.uid import generate_uid
from sqlalchemy.orm import Session

from dicom_node.config import Config
from dicom_node.database import Database, now
from dicom_node.domain import DeliveryState, StudyState
from dicom_node.receive.commitment import NO_SUCH_INSTANCE, PROCESSING_FAILURE, UnknownPeer
from dicom_node.stored_files import StoredFiles
from dicom_node.studies import analyses
from dicom_node.tables import AnalysisRow, CommitmentRequestRow, DeliveryRow, InstanceRow, ResultRow

_FAILURES = {
    PROCESSING_FAILURE: "processing failure",
    NO_SUCH_INSTANCE: "not held",
    0x0119: "held under another SOP class",
    0x0122: "SOP class not supported",
    0x0131: "duplicate transaction",
    0x0213: "out of resources",
}
_PERMANENT = frozenset({0x0119, 0x0122})


@dataclass(frozen=True, slots=True)
class Question:
    """What one destination is asked to commit in one transaction: pairs of SOP Class and SOP Instance UID."""

    analysis_id: str
    destination: str
    transaction_uid: str
    instances: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a peer that asked is told: what the node holds of it and, with a failure reason, what not."""

    ae_title: str
    transaction_uid: str
    committed: tuple[tuple[str, str], ...]
    failed: tuple[tuple[str, str], ...]

    @property
    def in_words(self) -> str:
        """Such as ``3 of 4 instances are held``."""
        return f"{len(self.committed)} of {len(self.committed) + len(self.failed)} instances are held"


class CommitmentTable:
    """The receiver's register of requests and reports."""

    def __init__(self, config: Config, database: Database) -> None:
        self._peers = {peer.ae_title for peer in config.peers}
        self._database = database

    def request(self, calling_ae_title: str, transaction_uid: str, instances: Sequence[tuple[str, str]]) -> None:
        """Keep a peer's request; the same transaction asked again is one request.

        Raises:
            UnknownPeer: nobody is configured under this AE title.
        """
        if calling_ae_title not in self._peers:
            raise UnknownPeer(calling_ae_title)
        with self._database.session.begin() as session:
            known = sa.select(CommitmentRequestRow.id).where(
                CommitmentRequestRow.calling_ae_title == calling_ae_title,
                CommitmentRequestRow.transaction_uid == transaction_uid,
            )
            if session.scalar(known) is None:
                session.add(
                    CommitmentRequestRow(
                        calling_ae_title=calling_ae_title,
                        transaction_uid=transaction_uid,
                        instances=[list(pair) for pair in instances],
                        received_at=now(),
                    )
                )

    def report(self, transaction_uid: str, committed: Sequence[str], failed: Mapping[str, int]) -> None:
        """Keep a destination's report; what it lost is sent again, what it will never keep is parked.

        Reports on transactions that are no longer waited for change nothing.
        """
        with self._database.session.begin() as session:
            rows = session.scalars(
                sa.select(DeliveryRow).where(
                    DeliveryRow.transaction_uid == transaction_uid,
                    DeliveryRow.state == DeliveryState.DELIVERED,
                    DeliveryRow.committed_at.is_(None),
                )
            )
            for row in rows:
                if row.sop_instance_uid in failed:
                    _lost(session, row, failed[row.sop_instance_uid])
                elif row.sop_instance_uid in committed:
                    row.committed_at, row.next_attempt_at = now(), None
                    row.message = "accepted, and committed to storage"


def _lost(session: Session, row: DeliveryRow, reason: int) -> None:
    words = f"{_FAILURES.get(reason, 'unknown reason')} (0x{reason:04X})"
    row.delivered_at, row.next_attempt_at = None, None
    study = session.get_one(AnalysisRow, row.analysis_id).study_instance_uid
    if reason in _PERMANENT:
        row.state = DeliveryState.PARKED
        row.message = f"accepted, but never to be committed to storage: {words}"
        analyses.set_state(session, row.analysis_id, StudyState.FAILED, f"{row.destination}: {row.message}.")
    else:
        row.state = DeliveryState.RETRYING
        row.message = f"accepted, but not committed to storage: {words}; sent again"
        analyses.set_state(session, row.analysis_id, StudyState.DELIVERING)
    analyses.add_event(session, study, f"1 object to {row.destination}: {row.message}.")


def lost_deliveries(session: Session) -> list[tuple[str, str, int]]:
    """Analysis, destination and number of the next attempt, where objects are to be sent again at once.

    A destination has lost what it had accepted, or somebody has asked for it.
    """
    lost = sa.select(DeliveryRow.analysis_id, DeliveryRow.destination).where(
        DeliveryRow.state == DeliveryState.RETRYING, DeliveryRow.next_attempt_at.is_(None)
    )
    rows = session.execute(
        sa.select(DeliveryRow.analysis_id, DeliveryRow.destination, sa.func.max(DeliveryRow.attempts))
        .where(sa.tuple_(DeliveryRow.analysis_id, DeliveryRow.destination).in_(lost))
        .group_by(DeliveryRow.analysis_id, DeliveryRow.destination)
    )
    return [(name, destination, attempts + 1) for name, destination, attempts in rows]


def open_questions(session: Session, destinations: Sequence[str], at: datetime, patience: timedelta) -> list[Question]:
    """Begin a transaction for what was delivered, is not committed and due at ``at``; due again after ``patience``.

    An analysis is asked about once all its objects are at the destination.
    """
    due = sa.select(DeliveryRow.analysis_id, DeliveryRow.destination).where(
        DeliveryRow.destination.in_(destinations),
        DeliveryRow.state == DeliveryState.DELIVERED,
        DeliveryRow.committed_at.is_(None),
        sa.or_(DeliveryRow.next_attempt_at.is_(None), DeliveryRow.next_attempt_at <= at),
    )
    questions = []
    for analysis_id, destination in session.execute(due.distinct()).all():
        rows = session.execute(
            sa.select(DeliveryRow, ResultRow.sop_class_uid)
            .join(ResultRow)
            .where(DeliveryRow.analysis_id == analysis_id, DeliveryRow.destination == destination)
            .with_for_update()
        ).all()
        if any(row.state in (DeliveryState.PENDING, DeliveryState.RETRYING) for row, _ in rows):
            continue
        uid = generate_uid(prefix=None)
        waiting = [
            (row, sop_class)
            for row, sop_class in rows
            if row.state is DeliveryState.DELIVERED and row.committed_at is None
        ]
        for row, _ in waiting:
            row.transaction_uid, row.next_attempt_at = uid, at + patience
        instances = tuple((sop_class, row.sop_instance_uid) for row, sop_class in waiting)
        questions.append(Question(analysis_id, destination, uid, instances))
    return questions


def postpone(session: Session, transaction_uid: str, message: str, until: datetime) -> None:
    """A destination could not be asked: ask again ``until`` then."""
    session.execute(
        sa.update(DeliveryRow)
        .where(DeliveryRow.transaction_uid == transaction_uid, DeliveryRow.committed_at.is_(None))
        .values(message=f"accepted; storage commitment could not be asked for: {message}", next_attempt_at=until)
    )


def open_requests(session: Session) -> list[int]:
    """The requests of peers that nobody has answered yet."""
    query = sa.select(CommitmentRequestRow.id).where(CommitmentRequestRow.closed_at.is_(None))
    return list(session.scalars(query.order_by(CommitmentRequestRow.id)))


def answer_for(session: Session, request_id: int, folder: Path, files: StoredFiles) -> Answer:
    """What the node can say to a request: an instance is held when it is indexed and its file is there."""
    row = session.get_one(CommitmentRequestRow, request_id)
    pairs = [(sop_class, uid) for sop_class, uid in row.instances]
    indexed = {
        folder / path: (sop_class, uid)
        for sop_class, uid, path in session.execute(
            sa.select(InstanceRow.sop_class_uid, InstanceRow.sop_instance_uid, InstanceRow.path).where(
                InstanceRow.sop_instance_uid.in_([uid for _, uid in pairs])
            )
        )
    }
    held = {indexed[path] for path in files.held(indexed)}
    return Answer(
        row.calling_ae_title,
        row.transaction_uid,
        tuple(pair for pair in pairs if pair in held),
        tuple(pair for pair in pairs if pair not in held),
    )


def close_request(session: Session, request_id: int, outcome: str) -> None:
    """The peer has its answer, or will never have it."""
    row = session.get_one(CommitmentRequestRow, request_id)
    row.closed_at, row.outcome = now(), outcome


def references(
    transaction_uid: str, instances: Sequence[tuple[str, str]], failed: Sequence[tuple[str, str]] = ()
) -> Dataset:
    """Action Information or Event Information (PS3.4 J.3.2.1.1, J.3.3.1.1)."""
    dataset = Dataset()
    dataset.TransactionUID = transaction_uid
    if instances:
        dataset.ReferencedSOPSequence = [_item(pair) for pair in instances]
    if failed:
        dataset.FailedSOPSequence = [_item(pair) for pair in failed]
        for item in dataset.FailedSOPSequence:
            item.FailureReason = NO_SUCH_INSTANCE
    return dataset


def _item(pair: tuple[str, str]) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = pair
    return item
