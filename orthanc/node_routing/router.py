"""The one thread that routes: reads Orthanc's log of changes and takes each study step by step to the node.

A restart at any moment loses nothing. Orthanc's log of changes is the queue, the record on each study says where
it stands, and the *watermark* is the change up to which no study needs a second look.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from node_routing.archive import Archive, ArchiveError, NotInArchive
from node_routing.backlog import Backlog, UnderWay
from node_routing.history import History
from node_routing.record import Record, State
from node_routing.selection import Study
from node_routing.settings import RECORD_METADATA, Settings
from node_routing.steps import NOTHING_TO_SEND, Steps

log = logging.getLogger(__name__)

_LONGEST_SLEEP = timedelta(seconds=30)
_PAUSE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class LogHasGrown:
    """Orthanc's log of changes has something of interest."""


@dataclass(frozen=True, slots=True)
class JobEnded:
    """A job of Orthanc has ended, ours or another."""

    job: str
    succeeded: bool


@dataclass(frozen=True, slots=True)
class SendByHand:
    """Somebody asked for a study to be sent."""

    study: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Orthanc is stopping."""


Message = LogHasGrown | JobEnded | SendByHand | Stop


class Router:
    """Routes studies. Orthanc's callbacks only ``tell``; everything else is done in the thread that calls ``run``."""

    def __init__(self, archive: Archive, steps: Steps, settings: Settings, clock: Callable[[], datetime]) -> None:
        self._archive, self._steps, self._settings, self._clock = archive, steps, settings, clock
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._backlog = Backlog(settings.retry)
        self._history = History(settings.stable_age, 0)
        self._watermark = 0

    def tell(self, message: Message) -> None:
        """Hand over what has happened; returns at once."""
        if isinstance(message, Stop):
            self._stopping.set()
        self._messages.put(message)

    def run(self) -> None:
        """Route until told to stop. When Orthanc refuses a request, begin again as after a restart."""
        while not self._stopping.is_set():
            try:
                self._recover()
                self._route()
            except ArchiveError:
                log.exception("Orthanc refused a request of the router, which begins again in a moment")
                self._stopping.wait(_PAUSE_SECONDS)

    def _route(self) -> None:
        while not self._stopping.is_set():
            self._move_watermark()
            now = self._clock()
            following = self._backlog.next(now)
            wait = min(following[0] - now, _LONGEST_SLEEP) if following else _LONGEST_SLEEP
            try:
                self._handle(self._messages.get(timeout=wait.total_seconds()))
            except queue.Empty:
                if following and wait < _LONGEST_SLEEP:
                    self._step(following[1])
                else:
                    self._read_log()

    def _handle(self, message: Message) -> None:
        match message:
            case LogHasGrown():
                self._read_log()
            case SendByHand(study):
                self._backlog.try_now()
                self._consider(study, self._history.cursor + 1, asked_by_hand=True)
            case JobEnded(job, succeeded):
                self._end_job(job, succeeded)

    # What is to be sent

    def _recover(self) -> None:
        """Look again at every study that a former run may not have been done with."""
        watermark = self._archive.watermark()
        if watermark is None:  # the first start: what the archive holds already is not sent
            watermark = self._archive.last_change()
            self._archive.set_watermark(watermark)
        self._watermark = watermark
        self._backlog = Backlog(self._settings.retry)
        self._history = History(self._settings.stable_age, watermark)
        last = self._archive.last_change()
        changes = (change for change in self._archive.changes(watermark) if change.number <= last)
        studies: dict[str, int] = {}
        for change in self._history.interrupted(changes):
            try:
                study = change.identifier
                if change.level == "Instance":
                    study = self._archive.study_of_instance(change.identifier)
                studies[study] = change.number
            except NotInArchive:
                continue
        self._history.advance(last, self._clock())
        for study, number in studies.items():
            self._consider(study, number)
        if self._backlog.studies:
            log.warning("%d studies are under way to the node", len(self._backlog.studies))

    def _read_log(self) -> None:
        for change in self._archive.changes(self._history.cursor):
            self._history.advance(change.number, self._clock())
            if under_way := self._backlog.studies.get(change.identifier):
                self._backlog.put(change.identifier, replace(under_way, change=change.number))
            if change.kind == "StableStudy":
                self._consider(change.identifier, change.number)

    def _consider(self, identifier: str, change: int, *, asked_by_hand: bool = False) -> None:
        """Decide whether a study is to be sent, or goes on where its record says that it stands."""
        try:
            study = self._archive.study(identifier)
            self._mark_results(study)
            if not study.is_stable and not asked_by_hand:
                return  # Orthanc will tell when it is
            before = Record.parse(study.metadata.get(RECORD_METADATA, ""))
            by_hand = asked_by_hand or (before is not None and before.by_hand)
            selection = self._steps.select(study, by_hand=by_hand)
            if before is not None and before.covers(selection) and not asked_by_hand:
                record = before
            elif selection.images or asked_by_hand:
                record = Record.ask(selection, self._clock(), by_hand=by_hand)
            else:
                return
            if not selection.images:
                record = record.end(State.FAILED, NOTHING_TO_SEND, self._clock())
            self._keep(identifier, UnderWay(study.study_instance_uid, record, change), before)
        except NotInArchive:
            self._backlog.studies.pop(identifier, None)

    def _mark_results(self, study: Study) -> None:
        for series in study.series:
            if series.is_result:
                self._archive.mark_result(series, study)

    # The next step of a study

    def _step(self, identifier: str) -> None:
        under_way, now = self._backlog.studies[identifier], self._clock()
        before, uid = under_way.record, under_way.study_instance_uid
        try:
            match before.state:
                case State.WAITING:
                    study = self._archive.study(identifier)
                    if not study.is_stable and not before.by_hand:
                        self._backlog.studies.pop(identifier)  # more arrives; Orthanc will tell when it is stable
                        return
                    after = self._steps.send(study, before, now)
                case State.SENDING:
                    after = self._steps.look_after_job(before, now)
                case State.SENT:
                    after = self._steps.release(uid, before, now)
                case _:
                    after = self._steps.look_for_outcome(uid, before, now)
            self._advance(identifier, under_way, after)
        except NotInArchive:
            self._backlog.studies.pop(identifier, None)

    def _end_job(self, job: str, succeeded: bool) -> None:
        for identifier, under_way in list(self._backlog.studies.items()):
            if under_way.record.job == job:
                if succeeded:  # believed, since Orthanc forgets all but the newest jobs that ended
                    self._advance(identifier, under_way, under_way.record.store_succeeded(self._clock()))
                else:
                    self._step(identifier)

    def _advance(self, identifier: str, under_way: UnderWay, after: Record) -> None:
        self._backlog.note(under_way.record, after, self._clock())
        if after.answer and after.answer != under_way.record.answer:
            log.info("study %s is %s: %s", under_way.study_instance_uid, after.state, after.answer)
        self._keep(identifier, replace(under_way, record=after), under_way.record)

    def _keep(self, identifier: str, under_way: UnderWay, before: Record | None) -> None:
        """Write a record that says something new, then take the study up or let it go."""
        if before is None or replace(before, next_step_at=under_way.record.next_step_at) != under_way.record:
            self._archive.write_record(identifier, under_way.record, before)
        self._backlog.put(identifier, under_way)

    def _move_watermark(self) -> None:
        pending = (study.change for study in self._backlog.studies.values())
        watermark = self._history.watermark(pending, self._clock())
        if watermark > self._watermark:
            self._archive.set_watermark(watermark)
            self._watermark = watermark
