"""Fetching by rule as durable workflows: at its time a rule asks its peer, and each study it finds is retrieved."""

from __future__ import annotations

import logging
import random
import threading
from datetime import datetime, timedelta

import sqlalchemy as sa
from dbos import DBOS, DBOSConfiguredInstance, Queue, SetEnqueueOptions, SetWorkflowID

from dicom_node.config import Config, FetchRule
from dicom_node.database import Database, now
from dicom_node.deliver.outcome import retry_delay
from dicom_node.fetch.query import last_tick, rule_queries
from dicom_node.fetch.retrieve import FetchError, Retriever
from dicom_node.passing import patiently
from dicom_node.tables import StudyRow

log = logging.getLogger(__name__)

_TRY_FOR = timedelta(days=1)


@DBOS.dbos_class()
class FetchWorkflow(DBOSConfiguredInstance):
    """Begins what is due, asks, and lets peers send; studies that the node knows are not asked for again.

    A rule that was due while no worker ran is carried out at the next start, once, for the day it was about.
    """

    def __init__(self, config: Config, database: Database, stopping: threading.Event) -> None:
        super().__init__("fetch")
        self.stopping = stopping
        self._config = config
        self._database = database
        self._rules = {rule.name: rule for rule in config.fetch}
        self._peers = {peer.name: peer for peer in config.peers}
        self._retriever = Retriever(config.node.ae_title, config.deliver.timeout_seconds)
        self._begun: dict[str, datetime] = {}
        self.queue: Queue | None = None

    def look(self) -> None:
        """Begin what is due. Several workers may: a rule's turn is named after its time, and begins once."""
        at = now().astimezone()
        for rule in self._config.fetch:
            tick = last_tick(rule, at)
            if self._begun.get(rule.name) != tick:
                self._enqueue_ask(rule.name, tick.isoformat(), 1, None)
                self._begun[rule.name] = tick

    @DBOS.workflow(max_recovery_attempts=None)
    def ask(self, rule_name: str, tick: str, attempt: int) -> None:
        """One attempt to learn which studies a rule is about; begins their retrieval, or the next attempt."""
        found, delay = self._ask(rule_name, tick, attempt)
        if delay is not None:
            self._enqueue_ask(rule_name, tick, attempt + 1, delay)
        for study_instance_uid in found:
            self._enqueue_pull(rule_name, tick, study_instance_uid, 1, None)

    @DBOS.workflow(max_recovery_attempts=None)
    def pull(self, rule_name: str, tick: str, study_instance_uid: str, attempt: int) -> None:
        """One attempt to let the peer send a study; begins the next where that is needed."""
        delay = self._pull(rule_name, tick, study_instance_uid, attempt)
        if delay is not None:
            self._enqueue_pull(rule_name, tick, study_instance_uid, attempt + 1, delay)

    @DBOS.step()
    @patiently
    def _ask(self, rule_name: str, tick: str, attempt: int) -> tuple[list[str], float | None]:
        """The studies that match and are not known, and the seconds to the next attempt where the peer fails."""
        rule = self._rules.get(rule_name)
        if rule is None:
            return [], None
        try:
            matches = [
                match
                for query in rule_queries(rule, datetime.fromisoformat(tick))
                for match in self._retriever.find(self._peers[rule.from_], query)
            ]
        except FetchError as error:
            return [], self._delay(rule, tick, attempt, str(error))
        uids = {str(match.StudyInstanceUID) for match in matches if match.get("StudyInstanceUID")}
        with self._database.reading() as session:
            known = set(
                session.scalars(sa.select(StudyRow.study_instance_uid).where(StudyRow.study_instance_uid.in_(uids)))
            )
        log.info("fetch rule %s: %d studies found, %d of them known", rule_name, len(uids), len(known))
        return sorted(uids - known), None

    @DBOS.step()
    @patiently
    def _pull(self, rule_name: str, tick: str, study_instance_uid: str, attempt: int) -> float | None:
        rule = self._rules.get(rule_name)
        if rule is None:
            return None
        try:
            fetched = self._retriever.move(self._peers[rule.from_], study_instance_uid)
        except FetchError as error:
            return self._delay(rule, tick, attempt, str(error))
        if fetched.failed:
            return self._delay(rule, tick, attempt, f"{fetched.failed} images of {study_instance_uid} did not come")
        return None

    def _delay(self, rule: FetchRule, tick: str, attempt: int, problem: str) -> float | None:
        """The seconds to the next attempt; None, and a line in the log, where it is given up."""
        if now() - datetime.fromisoformat(tick) > _TRY_FOR:
            log.error("fetch rule %s is given up for this time: %s", rule.name, problem)
            return None
        log.warning("fetch rule %s is tried again: %s", rule.name, problem)
        return retry_delay(attempt, self._config.deliver, random.random())  # noqa: S311 - jitter

    def _enqueue_ask(self, rule_name: str, tick: str, attempt: int, delay_seconds: float | None) -> None:
        with (
            SetWorkflowID(f"fetch-{rule_name}-{tick}-{attempt}"),
            SetEnqueueOptions(delay_seconds=delay_seconds),
        ):
            self._registered.enqueue(self.ask, rule_name, tick, attempt)

    def _enqueue_pull(self, rule_name: str, tick: str, uid: str, attempt: int, delay_seconds: float | None) -> None:
        with (
            SetWorkflowID(f"pull-{rule_name}-{tick}-{uid}-{attempt}"),
            SetEnqueueOptions(delay_seconds=delay_seconds),
        ):
            self._registered.enqueue(self.pull, rule_name, tick, uid, attempt)

    @property
    def _registered(self) -> Queue:
        if self.queue is None:
            raise RuntimeError("the fetch queue is registered when the worker starts")
        return self.queue
