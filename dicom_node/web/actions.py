"""What a person may do with a study, and why not: analyse or send again, cancel, complete now.

Each is a change of rows in one transaction. The worker's look at those rows carries it out with the workflow engine,
so that nothing is lost between the two, whoever dies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dicom_node.config import Config, Peer
from dicom_node.database import Database
from dicom_node.deliver import ledger
from dicom_node.domain import MANUFACTURER, DeliveryState, StudyState
from dicom_node.results.identity import input_digest
from dicom_node.studies import analyses
from dicom_node.tables import AnalysisRow, DeliveryRow, ResultRow, StudyRow


class Action(StrEnum):
    """What can be done with a study."""

    COMPLETE = "complete"
    RETRY = "retry"
    REANALYSE = "reanalyse"
    SEND = "send"
    CANCEL = "cancel"


class UnknownStudy(Exception):
    """The node holds no study with this UID."""


class UnknownDestination(Exception):
    """No peer of this name gets results; the text names those that do."""


class NotPossible(Exception):
    """The action cannot be carried out in the study's present state; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What of a study decides on which actions are possible."""

    state: StudyState
    is_removed: bool
    results: int
    deliveries: frozenset[DeliveryState]


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asks for. ``destination`` is the name of a peer; None stands for all, where that makes sense."""

    study_instance_uid: str
    by: str
    reason: str
    at: datetime
    destination: str | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """An action that was taken: the study's state now, and what happens next, in words."""

    study_instance_uid: str
    state: StudyState
    text: str


MOST_REASON = 300
"""How many characters a reason may have."""

_ENDED_FIRST = "Wait until it has ended, or cancel it first."
_REMOVED = "Its files were removed from this node to make room. Send the study again from the archive it came from."
_UNSETTLED = (StudyState.RECEIVING, StudyState.QUEUED, StudyState.ANALYSING)


def why_not(action: Action, study: Situation) -> str | None:
    """Why an action is not possible for a study as it is, in sentences; None where it is."""
    match action:
        case Action.COMPLETE:
            return _why_not_complete(study)
        case Action.CANCEL:
            ended = study.state in analyses.ENDED
            return f"The study has ended already ({study.state}): there is nothing to cancel." if ended else None
        case Action.REANALYSE:
            return _why_not_reanalyse(study)
        case Action.RETRY:
            return _why_not_retry(study)
        case Action.SEND:
            return _why_not_send(study)


def _why_not_complete(study: Situation) -> str | None:
    if study.state is not StudyState.RECEIVING:
        return (
            f"The study is {study.state}, not receiving: its analysis was started with the images held then. "
            "Images that arrive from now on start a new analysis, which can be released again."
        )
    return None


def _why_not_reanalyse(study: Situation) -> str | None:
    if study.state is StudyState.RECEIVING:
        return "Images are still arriving, and are analysed once the study is complete. 'Complete now' does not wait."
    if study.state not in analyses.ENDED:
        return f"The study is {study.state} at the moment. {_ENDED_FIRST}"
    return _REMOVED if study.is_removed else None


def _why_not_retry(study: Situation) -> str | None:
    if not study.deliveries & {DeliveryState.RETRYING, DeliveryState.PARKED}:
        if DeliveryState.PENDING in study.deliveries:
            return "The results are being sent at this moment, for the first time."
        return "Nothing of this study waits to be sent there, and nothing was refused."
    return _REMOVED if study.is_removed else None


def _why_not_send(study: Situation) -> str | None:
    if study.state in _UNSETTLED:
        return f"The study is {study.state}: there is no final result to send yet. {_ENDED_FIRST}"
    if not study.results:
        return "The study has no result objects to send."
    if study.state is StudyState.CANCELLED and not study.deliveries:
        return "It was cancelled before the analysis was through: analyse it again first."
    return _REMOVED if study.is_removed else None


def situation(session: Session, study: StudyRow, destination: str | None = None) -> Situation:
    """What decides about a study, and about its deliveries to one destination where that is given."""
    deliveries = (
        sa.select(DeliveryRow.state)
        .join(AnalysisRow, AnalysisRow.analysis_id == DeliveryRow.analysis_id)
        .where(AnalysisRow.study_instance_uid == study.study_instance_uid)
        .distinct()
    )
    if destination is not None:
        deliveries = deliveries.where(DeliveryRow.destination == destination)
    results = sa.select(sa.func.count()).where(ResultRow.analysis_id == study.latest_analysis_id)
    return Situation(
        state=study.state,
        is_removed=study.removed_at is not None,
        results=session.scalar(results) or 0,
        deliveries=frozenset(session.scalars(deliveries)),
    )


def act(action: Action, request: Request, config: Config, database: Database) -> Taken:
    """Carry out an action; asked for again while it is under way, it changes nothing more.

    Raises:
        UnknownStudy: there is no such study.
        UnknownDestination: the destination is not one of those configured.
        NotPossible: the study's present state does not allow it.
    """
    carry_out: dict[Action, Callable[[Session, StudyRow, Request, Config], str]] = {
        Action.COMPLETE: _complete,
        Action.RETRY: _retry,
        Action.REANALYSE: _reanalyse,
        Action.SEND: _send,
        Action.CANCEL: _cancel,
    }
    with database.session.begin() as session:
        study = _locked(session, request.study_instance_uid)
        reason = why_not(action, situation(session, study, request.destination if action is Action.RETRY else None))
        if reason is not None:
            raise NotPossible(reason)
        text = carry_out[action](session, study, request, config)
        session.flush()
        return Taken(study.study_instance_uid, session.get_one(StudyRow, study.study_instance_uid).state, text)


def _locked(session: Session, study_instance_uid: str) -> StudyRow:
    """The study, locked after its analysis, as the worker does it."""
    study = session.get(StudyRow, study_instance_uid)
    if study is None:
        raise UnknownStudy(study_instance_uid)
    if study.latest_analysis_id is not None:
        session.get(AnalysisRow, study.latest_analysis_id, with_for_update=True, populate_existing=True)
    return session.get_one(StudyRow, study_instance_uid, with_for_update=True, populate_existing=True)


def _complete(session: Session, study: StudyRow, request: Request, _config: Config) -> str:
    if study.released_at is None or study.released_at < study.last_received_at:
        study.released_at = request.at
        _note(session, request, "Released as complete, without waiting for the quiet period")
    return "Its analysis begins as soon as a worker is free."


def _retry(session: Session, study: StudyRow, request: Request, _config: Config) -> str:
    query = (
        sa.select(DeliveryRow)
        .join(AnalysisRow, AnalysisRow.analysis_id == DeliveryRow.analysis_id)
        .where(
            AnalysisRow.study_instance_uid == study.study_instance_uid,
            DeliveryRow.state.in_((DeliveryState.RETRYING, DeliveryState.PARKED)),
        )
        .with_for_update()
    )
    if request.destination is not None:
        query = query.where(DeliveryRow.destination == request.destination)
    rows = session.scalars(query).all()
    waiting = [row for row in rows if row.state is DeliveryState.PARKED or row.next_attempt_at is not None]
    if waiting:
        _deliver(session, waiting, f"to be sent again, asked for by {request.by}; before: ")
        _note(session, request, f"Delivery to {_names(waiting)} is tried again")
    return f"{_objects(len(rows))} sent to {_names(rows)} within seconds, if a worker runs."


def _reanalyse(session: Session, study: StudyRow, request: Request, _config: Config) -> str:
    held = analyses.analysis_input(session, study.study_instance_uid)
    if not held.sop_instance_uids:
        raise NotPossible("The node holds no images of this study that could be analysed.")
    analyses.ask_again(session, study, input_digest(held.sop_instance_uids), held.last_instance_id, request.at)
    _note(session, request, "Analysed again")
    return (
        "It waits for a worker. The same images read by the same model give the same objects under the same UIDs, "
        "which a destination that holds them is not sent again; another version of a model makes new ones."
    )


def _send(session: Session, study: StudyRow, request: Request, config: Config) -> str:
    peer = _destination(config, request.destination)
    results = session.scalars(sa.select(ResultRow).where(ResultRow.analysis_id == study.latest_analysis_id)).all()
    uids = ledger.wanted_by(peer, results) or [row.sop_instance_uid for row in results if row.model == MANUFACTURER]
    if not uids:
        raise NotPossible(
            f"No object was made in the way that {peer.name} wants it (its kinds, series numbers or descriptions): "
            "analyse the study again, then it is."
        )
    analysis_id = study.latest_analysis_id or ""
    ledger.open_deliveries(session, analysis_id, {peer.name: uids})
    session.flush()
    rows = session.scalars(
        sa.select(DeliveryRow)
        .where(DeliveryRow.destination == peer.name, DeliveryRow.sop_instance_uid.in_(uids))
        .with_for_update()
    ).all()
    waiting = [row for row in rows if row.state is not DeliveryState.RETRYING or row.next_attempt_at is not None]
    if waiting:
        _deliver(session, waiting, f"to be sent, asked for by {request.by}")
        _note(session, request, f"{_objects(len(waiting))} sent to {peer.name}")
    return f"{_objects(len(rows))} sent to {peer.name} within seconds, if a worker runs."


def _cancel(session: Session, study: StudyRow, request: Request, _config: Config) -> str:
    reason = f"Cancelled by {request.by}: {request.reason}"
    if study.state is StudyState.DELIVERING:
        stopped = session.scalars(
            sa.select(DeliveryRow)
            .where(DeliveryRow.analysis_id == study.latest_analysis_id, DeliveryRow.state.in_(ledger.UNFINISHED))
            .with_for_update()
        ).all()
        for row in stopped:
            row.state, row.next_attempt_at = DeliveryState.PARKED, None
            row.message = f"cancelled by {request.by}; before: {row.message}" if row.message else "cancelled"
    if study.state is not StudyState.RECEIVING and study.latest_analysis_id is not None:
        analysis = session.get(AnalysisRow, study.latest_analysis_id)
        if analysis is not None:
            analyses.set_state(session, analysis.analysis_id, StudyState.CANCELLED, reason)
    study.state, study.reason, study.state_changed_at = StudyState.CANCELLED, reason, request.at
    study.waiting_since = None
    _note(session, request, "Cancelled")
    return "What is under way ends first; nothing is sent. 'Analyse again' takes it up again, and so do new images."


def _deliver(session: Session, rows: Sequence[DeliveryRow], message: str) -> None:
    """Let deliveries be tried at once; a notice, which tells an outcome, does not change it."""
    for row in rows:
        ledger.send_again([row], f"{message}{row.message}" if message.endswith(": ") else message)
    session.flush()
    of_models = (
        sa.select(ResultRow.analysis_id)
        .where(ResultRow.sop_instance_uid.in_([row.sop_instance_uid for row in rows]), ResultRow.model != MANUFACTURER)
        .distinct()
    )
    for name in session.scalars(of_models).all():
        if session.get_one(AnalysisRow, name).state in analyses.ENDED:
            analyses.reopen(session, name, StudyState.DELIVERING)


def _destination(config: Config, name: str | None) -> Peer:
    peer = next((peer for peer in config.destinations if peer.name == name), None)
    if peer is None:
        names = ", ".join(peer.name for peer in config.destinations) or "none is configured"
        raise UnknownDestination(f"{name or 'Nobody'} is no destination of this node; destinations: {names}.")
    return peer


def _note(session: Session, request: Request, what: str) -> None:
    reason = f": {request.reason}" if request.reason else ""
    text = f"{what}, asked for by {request.by}{reason}" if what != "Cancelled" else f"Cancelled by {request.by}{reason}"
    analyses.add_event(session, request.study_instance_uid, f"{text.rstrip('.')}.")


def _names(rows: Sequence[DeliveryRow]) -> str:
    return ", ".join(sorted({row.destination for row in rows}))


def _objects(number: int) -> str:
    return "1 object is" if number == 1 else f"{number} objects are"
