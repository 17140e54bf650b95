"""The durable workflow of a study: the one place that knows the order of the stages.

Each step is repeated after a crash if it had not ended, so each is idempotent: rows are replaced, and the UIDs of
results are derived from their inputs.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from dbos import DBOS, DBOSConfiguredInstance, Queue, SetEnqueueOptions, SetWorkflowID
from pydicom import Dataset

from dicom_node.analysis import MadeObject, SeriesOutcome, conclude, read_series
from dicom_node.archive.archive import load_study
from dicom_node.audit.message import AuditedStudy
from dicom_node.audit.transfers import Transfers
from dicom_node.config import Config, Peer
from dicom_node.database import Database, now
from dicom_node.deliver import ledger
from dicom_node.deliver.outcome import retry_delay
from dicom_node.deliver.sender import Sender, UnreadableFile
from dicom_node.deliver.stow import StowSender
from dicom_node.domain import (
    MANUFACTURER,
    AnalysisIdentity,
    DeliveryAttempt,
    DeliveryState,
    Instance,
    ResultObject,
    SeriesDecision,
    Study,
    StudyState,
)
from dicom_node.inference.models import Models
from dicom_node.isolation import Isolation, TooOftenInterrupted
from dicom_node.lifecycle.inputs import features_of, save_input
from dicom_node.log_context import logged_about
from dicom_node.part10 import read_header
from dicom_node.passing import passes, patiently, taken_up_again
from dicom_node.results.file import write_result
from dicom_node.results.identity import input_digest
from dicom_node.results.notice import build_notice
from dicom_node.results.options import ResultOptions, options_for
from dicom_node.shadowing import ShadowWorkflow
from dicom_node.stored_files import NotStored, StoredFiles
from dicom_node.studies import analyses
from dicom_node.studies.headers import SeriesHeaders, read_series_headers
from dicom_node.studies.selection import select_series
from dicom_node.studies.size import decoded_megabytes
from dicom_node.tables import AnalysisRow, ResultRow, StudyRow

log = logging.getLogger(__name__)

SCHEMA_VERSION = "1"
"""Version of the workflow below. Workflows begun under another version are not taken up; change it only with a
change of steps that older pending workflows could not follow."""

ANALYSE_QUEUE = "analyse"
DELIVER_QUEUE = "deliver"
FETCH_QUEUE = "fetch"
CONCURRENT_DELIVERIES = 4
RECOVERY_ATTEMPTS = 50  # a backstop: what ends the worker while it reads a study is counted by Isolation
_WITHOUT_RESULT = (StudyState.NOT_APPLICABLE, StudyState.FAILED)
_UNDER_WAY = frozenset({"DELAYED", "ENQUEUED", "PENDING"})


@DBOS.dbos_class()
class StudyWorkflow(DBOSConfiguredInstance):
    """Selection, inference, results and delivery of one study, step by step.

    Owns nothing: the configuration, the database and the models are given to it and outlive it.
    """

    def __init__(
        self,
        config: Config,
        database: Database,
        files: StoredFiles,
        models: Models,
        transfers: Transfers,
        stopping: threading.Event,
    ) -> None:
        super().__init__("node")
        self.stopping = stopping
        self._transfers = transfers
        self._config = config
        self._database = database
        self._files = files
        self._models = models
        self.isolation = Isolation(database, config.worker.series_limit_seconds)
        self._peers = {peer.name: peer for peer in config.destinations}
        # Results are made even if nobody is configured to receive them: the status page shows them.
        self._options = [options_for(peer, peer.results) for peer in config.destinations] or [ResultOptions()]
        self.deliver_queue: Queue | None = None
        self.shadows = ShadowWorkflow(config, database, files, models, self.isolation, stopping)
        self._sending = set[tuple[str, str]]()

    @DBOS.workflow(max_recovery_attempts=RECOVERY_ATTEMPTS)
    @taken_up_again
    def analyse(self, study_instance_uid: str, digest: str, last_instance_id: int) -> None:
        """Analyse the images of a study up to ``last_instance_id`` and hand the results to delivery."""
        with logged_about(study=study_instance_uid):
            self._analyse(study_instance_uid, digest, last_instance_id)

    def _analyse(self, study_instance_uid: str, digest: str, last_instance_id: int) -> None:
        name = analyses.analysis_id(study_instance_uid, digest)
        if not self._open(study_instance_uid, digest, last_instance_id):
            return
        results, unfit = 0, list[str]()
        chosen: list[tuple[str, str, list[str]]] = []
        try:
            chosen, problems = self._select(name)
            for series_instance_uid, model, uids in chosen:
                outcome = self._read(name, series_instance_uid, model, uids)
                if outcome is None:
                    return
                made, refused, broken = outcome
                results += made
                unfit += refused
                problems += broken
            destinations = self._conclude(name, results, unfit, problems) or self._notify(name)
        except NotStored as error:
            self._fail(name, str(error))
            destinations = self._notify(name)
        except Exception as error:
            if passes(error):
                raise
            # Whatever fails, the study must end visibly and the worker must go on with the next.
            log.exception("analysis %s failed", name)
            self._fail(name, f"The analysis failed ({type(error).__name__}): see the worker's log.")
            destinations = self._notify(name)
        for destination in destinations:
            self._begin_delivery(name, destination)
        self.shadows.begin(name, chosen)

    @DBOS.step()
    @patiently
    def _open(self, study_instance_uid: str, digest: str, last_instance_id: int) -> bool:
        """Begin; false if the study was cancelled, or its images are others now and another analysis follows."""
        with self._database.session.begin() as session:
            if session.get_one(StudyRow, study_instance_uid).state is StudyState.CANCELLED:
                return False
            held = analyses.analysis_input(session, study_instance_uid, last_instance_id)
            if input_digest(held.sop_instance_uids) != digest:
                held = analyses.analysis_input(session, study_instance_uid)  # removed since, and received again
            if input_digest(held.sop_instance_uids) != digest:
                name = analyses.analysis_id(study_instance_uid, digest)
                analyses.give_up(session, study_instance_uid, name, "The images are no longer those to be analysed.")
                return False
            row = analyses.open_analysis(session, study_instance_uid, digest, held.last_instance_id)
            analyses.forget_readings(session, row.analysis_id)
            analyses.set_state(session, row.analysis_id, StudyState.ANALYSING)
            count = len(held.sop_instance_uids)
            analyses.add_event(session, study_instance_uid, f"Analysis of {count} images began.", row.begun_at)
        return True

    @DBOS.step()
    @patiently
    def _select(self, name: str) -> tuple[list[tuple[str, str, list[str]]], list[str]]:
        """Decide which model reads which series.

        Returns series, model and the instances to read, and of each model that should read but cannot, why.
        """
        study = self._study(name)
        with self._files.at_hand(instance.path for instance in study.instances):
            headers = [read_series_headers(series) for series in study.series]
        decisions = select_series(headers, self._models.manifests)
        by_series = {series.series_instance_uid: series for series in headers}
        decided = [self._why_impossible(decision, by_series[decision.series_instance_uid]) for decision in decisions]
        with self._database.session.begin() as session:
            analyses.save_decisions(session, name, [decision for decision, _ in decided])
        chosen = [
            (d.series_instance_uid, d.model, list(d.sop_instance_uids)) for d, _ in decided if d.model is not None
        ]
        return chosen, [problem for _, problem in decided if problem is not None]

    def _why_impossible(self, decision: SeriesDecision, headers: SeriesHeaders) -> tuple[SeriesDecision, str | None]:
        """The decision, and why it cannot be carried out where that is so."""
        if decision.model is None:
            return decision, None
        limit = self._config.worker.maximum_series_megabytes
        uids = set(decision.sop_instance_uids)
        chosen = (dataset for dataset in headers.datasets if dataset.SOPInstanceUID in uids)
        if (reason := self._models.unavailable.get(decision.model)) is not None:
            problem = f"{decision.model} is not available: {reason}"
        elif (size := decoded_megabytes(chosen)) > limit:
            problem = (
                f"A series for {decision.model} is too large: {size} MB decoded, worker.maximum_series_megabytes "
                f"allows {limit}."
            )
        else:
            return decision, None
        return SeriesDecision(decision.series_instance_uid, None, problem), problem

    @DBOS.step()
    @patiently
    def _read(
        self, name: str, series_instance_uid: str, model: str, uids: list[str]
    ) -> tuple[int, list[str], list[str]] | None:
        """Let a model read a series, and keep what it found and the objects made of it.

        Returns how many objects were made, why images were unfit, and what went wrong; None once it was cancelled.
        """
        if self._is_cancelled(name):
            return None
        wanted = set(uids)
        instances = [
            instance
            for instance in self._study(name).instances
            if instance.series_instance_uid == series_instance_uid and instance.sop_instance_uid in wanted
        ]
        try:
            with self._files.at_hand(instance.path for instance in instances):
                return self._read_instances(name, series_instance_uid, model, instances)
        except NotStored as problem:
            return 0, [], [str(problem)]

    def _read_instances(
        self, name: str, series_instance_uid: str, model: str, instances: Sequence[Instance]
    ) -> tuple[int, list[str], list[str]]:
        try:
            reader = self._models.reader(model)
            with self._database.reading() as session:
                points = {finding.name: finding.operating_point for finding in reader.bundle.manifest.findings}
                identity = analyses.identity(session, name, reader.bundle.identity, series_instance_uid, points)
            with self.isolation.reading(name):
                outcome = read_series(instances, reader, identity, self._options)
        except TooOftenInterrupted as parked:
            return 0, [], [str(parked)]
        except Exception as error:
            if passes(error):
                raise
            # One model that fails on one series must not take the study's other findings with it.
            log.exception("%s failed on series %s", model, series_instance_uid)
            return 0, [], [f"{model} failed on a series ({type(error).__name__}): see the worker's log."]
        made = self._keep(name, outcome, {instance.sop_instance_uid: instance.path for instance in instances})
        return made, [f"{model}: {text}" for text in outcome.not_applicable], list(outcome.problems)

    def _keep(self, name: str, outcome: SeriesOutcome, paths: Mapping[str, Path]) -> int:
        written = [[self._write(made) for made in reading.objects] for reading in outcome.readings]
        features = [
            features_of(made.reading, made.stack, read_header(paths[made.stack.sop_instance_uids[0]]))
            for made in outcome.readings
        ]
        with self._database.session.begin() as session:
            study_instance_uid = session.get_one(AnalysisRow, name).study_instance_uid
            for reading, objects, given in zip(outcome.readings, written, features, strict=True):
                analyses.save_reading(session, name, reading.reading, reading.stack, reading.stack_number, objects)
                save_input(session, name, reading.reading, reading.stack_number, given)
                model, seconds = reading.reading.model, reading.reading.seconds
                analyses.add_event(
                    session, study_instance_uid, f"{model.name} {model.version} read a series in {seconds:.1f} s."
                )
        return sum(len(objects) for objects in written)

    def _write(self, made: MadeObject) -> tuple[ResultObject, str, str]:
        """Write an object into the results folder; returns it with its path in the folder and its variant."""
        uid = str(made.dataset.SOPInstanceUID)
        folder = self._config.results_folder
        path = folder / str(made.dataset.StudyInstanceUID) / f"{uid}.dcm"
        write_result(made.dataset, path, self._config.writing_folder)
        path = self._files.share(path)
        result = ResultObject(uid, str(made.dataset.SOPClassUID), made.kind, path)
        return result, str(path.relative_to(folder)), made.variant

    @DBOS.step()
    @patiently
    def _conclude(self, name: str, results: int, unfit: list[str], problems: list[str]) -> list[str]:
        """Say how the analysis ended, and open its deliveries; returns the destinations."""
        with self._database.session.begin() as session:
            row = session.get_one(AnalysisRow, name, with_for_update=True)
            if row.state is StudyState.CANCELLED:
                return []
            decisions = [SeriesDecision(d.series_instance_uid, d.model, d.reason) for d in row.decisions]
            state, reason = conclude(decisions, results, unfit, problems)
            destinations: list[str] = []
            if state is StudyState.DELIVERING:
                destinations = ledger.open_deliveries(session, name, self._wanted(row.results))
                if not destinations:
                    state = StudyState.FAILED
                    reason = (
                        "Results were made, but no destination is configured: give a peer 'receives_results: true'. "
                    ) + reason
            analyses.set_state(session, name, state, reason.strip())
            analyses.add_event(session, row.study_instance_uid, f"Analysis ended: {state}.", row.begun_at)
            log.info("analysis ended: %s, %d objects", state, results)
            return self._to_begin(session, row, destinations)

    def _to_begin(self, session: sa.orm.Session, row: AnalysisRow, destinations: list[str]) -> list[str]:
        """The destinations whose first attempt is due: none where that was made when the same was asked before.

        What is new then, or was not accepted, is sent by the look at what waits (``commitment.lost_deliveries``).
        """
        if row.asked_again_at is None:
            return destinations
        session.flush()
        ledger.send_again(ledger.undelivered(session, row.analysis_id), "analysed again")
        session.flush()
        self._settle(session, row.analysis_id)
        return []

    @DBOS.step()
    @patiently
    def _notify(self, name: str) -> list[str]:
        """Make the notices that destinations want of a study without result; returns those destinations."""
        peers = [peer for peer in self._config.destinations if peer.notices]
        with self._database.reading() as session:
            row = session.get_one(AnalysisRow, name)
            identity = AnalysisIdentity(row.study_instance_uid, row.input_digest, row.created_at)
            state, reason = row.state, row.reason
        sources = self._notice_sources(name) if peers and state in _WITHOUT_RESULT else []
        if not sources:
            return []
        wanted: dict[str, list[str]] = {}
        objects: dict[str, tuple[ResultObject, str, str]] = {}
        for peer in peers:
            options = options_for(peer, peer.notices)
            for kind, dataset in build_notice(identity, state, reason, sources, options):
                written = self._write(MadeObject(kind, f"notice {options.variant(kind)}".strip(), dataset))
                objects[written[0].sop_instance_uid] = written
                wanted.setdefault(peer.name, []).append(written[0].sop_instance_uid)
        with self._database.session.begin() as session:
            series = str(sources[0].SeriesInstanceUID)
            analyses.save_objects(session, name, series, MANUFACTURER, objects.values())
            session.flush()
            row = session.get_one(AnalysisRow, name)
            return self._to_begin(session, row, ledger.open_deliveries(session, name, wanted))

    def _notice_sources(self, name: str) -> list[Dataset]:
        """The headers of the first series of the analysis that can be read; none of a study without images."""
        with self._database.reading() as session:
            row = session.get_one(AnalysisRow, name)
            held = analyses.analysis_input(session, row.study_instance_uid, row.last_instance_id)
        analysed = set(held.sop_instance_uids)
        for series in self._study(name).series:
            images = tuple(instance for instance in series.instances if instance.sop_instance_uid in analysed)
            with contextlib.suppress(NotStored), self._files.at_hand(image.path for image in images):
                if headers := read_series_headers(replace(series, instances=images)).datasets:
                    return list(headers)
        return []

    def _wanted(self, results: list[ResultRow]) -> dict[str, list[str]]:
        """Which objects go to which destination."""
        wanted = {peer.name: ledger.wanted_by(peer, results) for peer in self._config.destinations}
        return {name: uids for name, uids in wanted.items() if uids}

    @DBOS.step()
    @patiently
    def _fail(self, name: str, reason: str) -> None:
        with self._database.session.begin() as session:
            row = session.get_one(AnalysisRow, name)
            analyses.set_state(session, name, StudyState.FAILED, reason)
            analyses.add_event(session, row.study_instance_uid, reason, row.begun_at)

    @DBOS.workflow(max_recovery_attempts=None)
    @taken_up_again
    def deliver(self, name: str, destination: str, attempt: int) -> None:
        """One attempt to send an analysis' results to one destination; enqueues the next where that is needed."""
        with logged_about(study=name.rpartition("-")[0], destination=destination):
            try:
                delay = self._attempt(name, destination, attempt)
            except Exception as error:
                if passes(error):
                    raise
                log.exception("results of %s could not be sent to %s", name, destination)
                delay = self._config.deliver.maximum_retry_seconds
            if delay is not None:
                self._enqueue_delivery(name, destination, attempt + 1, delay)

    def _begin_delivery(self, name: str, destination: str) -> None:
        """Begin the first attempt at once while few deliveries are under way, else leave it to the queue.

        It is a workflow of its own either way, which neither holds up the next study nor gets lost.
        """
        if len(self._sending) >= CONCURRENT_DELIVERIES:
            self._enqueue_delivery(name, destination, attempt=1, delay_seconds=None)
            return
        with SetWorkflowID(_delivery_id(name, destination, 1)):
            DBOS.start_workflow(self.deliver, name, destination, 1)

    def send_again(self, name: str, destination: str, attempt: int) -> None:
        """Deliver what a destination lost, or what somebody asked to send again: at once, and once.

        An attempt that waits for its time does not wait any longer.
        """
        while (status := DBOS.get_workflow_status(_delivery_id(name, destination, attempt))) is not None:
            if status.status == "DELAYED":
                DBOS.set_workflow_delay(status.workflow_id, delay_seconds=0)
            if status.status in _UNDER_WAY:
                return
            attempt += 1  # it has run, without these objects
        self._enqueue_delivery(name, destination, attempt, delay_seconds=None)

    def _enqueue_delivery(self, name: str, destination: str, attempt: int, delay_seconds: float | None) -> None:
        if self.deliver_queue is None:
            raise RuntimeError("the delivery queue is registered when the worker starts")
        with (
            SetWorkflowID(_delivery_id(name, destination, attempt)),
            SetEnqueueOptions(delay_seconds=delay_seconds),
        ):
            self.deliver_queue.enqueue(self.deliver, name, destination, attempt)

    @DBOS.step()
    @patiently
    def _attempt(self, name: str, destination: str, attempt: int) -> float | None:
        """Send what the destination does not have yet; returns the seconds to wait before the next attempt.

        What somebody asked to send again while this went on has the next attempt to itself, at once.
        """
        with self._database.reading() as session:
            objects = ledger.unfinished(session, name, destination, self._config.results_folder)
        began_at = now()
        self._sending.add((name, destination))
        try:
            outcomes = self._send(self._peers.get(destination), objects)
        finally:
            self._sending.discard((name, destination))
        retry = any(outcome.state is DeliveryState.RETRYING for outcome in outcomes.values())
        delay = retry_delay(attempt, self._config.deliver, random.random()) if retry else None  # noqa: S311 - jitter
        at = now()
        with self._database.session.begin() as session:
            # Locked, or two deliveries that end at once each take the other for unfinished, and the study never ends.
            row = session.get_one(AnalysisRow, name, with_for_update=True)
            ledger.record(session, destination, outcomes, at, _after(at, delay))
            for state, message in {(outcome.state, outcome.message) for outcome in outcomes.values()}:
                count = sum(outcome.state is state and outcome.message == message for outcome in outcomes.values())
                # A destination that is down for days is one line of the timeline, not one for each attempt.
                since = row.begun_at if state is DeliveryState.RETRYING else None
                text = f"{count} objects to {destination}: {message}."
                log.info(
                    "attempt %d to send %d objects: %s", attempt, count, state
                )  # the peer's words may name anybody
                analyses.add_event(session, row.study_instance_uid, text, since)
            self._settle(session, name)
            study = session.get_one(StudyRow, row.study_instance_uid)
            audited = AuditedStudy(study.study_instance_uid, study.patient_id, study.accession_number)
            if delay is None and ledger.unfinished(session, name, destination, self._config.results_folder):
                delay = 0.0
        self._write_down(destination, audited, began_at, objects, outcomes)
        return delay

    def _write_down(
        self,
        destination: str,
        study: AuditedStudy,
        began_at: datetime,
        objects: list[ResultObject],
        outcomes: dict[str, DeliveryAttempt],
    ) -> None:
        """Put into the audit trail what a destination answered; where it answered nothing, nothing was transferred."""
        peer = self._peers.get(destination)
        answered = [made for made in objects if outcomes[made.sop_instance_uid].status is not None]
        accepted, refused = Counter[str](), Counter[str]()
        for made in answered:
            is_accepted = outcomes[made.sop_instance_uid].state is DeliveryState.DELIVERED
            (accepted if is_accepted else refused)[made.sop_class_uid] += 1
        if peer is not None and answered:
            self._transfers.sent(peer.ae_title, peer.host, study, began_at, accepted, refused)

    def _is_cancelled(self, name: str) -> bool:
        with self._database.reading() as session:
            return session.get_one(AnalysisRow, name).state is StudyState.CANCELLED

    def _send(self, peer: Peer | None, objects: list[ResultObject]) -> dict[str, DeliveryAttempt]:
        if peer is None:
            gone = DeliveryAttempt(DeliveryState.PARKED, "the destination is no longer configured")
            return {made.sop_instance_uid: gone for made in objects}
        if not objects:
            return {}
        timeout = self._config.deliver.timeout_seconds
        sender = Sender(self._config.node.ae_title, timeout) if peer.dicomweb is None else StowSender(timeout)
        by_path = {made.path: made.sop_instance_uid for made in objects}
        try:
            with self._files.at_hand(by_path):
                return {by_path[path]: outcome for path, outcome in sender.send(peer, list(by_path))}
        except (NotStored, UnreadableFile) as error:
            # It may come back: with a backup, or with a volume that was not mounted.
            waiting = DeliveryAttempt(DeliveryState.RETRYING, f"a result cannot be read: {error}")
            return {made.sop_instance_uid: waiting for made in objects}

    @staticmethod
    def _settle(session: sa.orm.Session, name: str) -> None:
        """End an analysis that is being delivered once every delivery has ended; a notice changes no outcome."""
        if session.get_one(AnalysisRow, name).state is not StudyState.DELIVERING:
            return
        deliveries = ledger.states(session, name)
        if any(state in ledger.UNFINISHED for _, state, _ in deliveries):
            return
        parked = sorted(
            {f"{where}: {message}" for where, state, message in deliveries if state is DeliveryState.PARKED}
        )
        if parked:
            analyses.set_state(session, name, StudyState.FAILED, f"Not delivered. {'; '.join(parked)}.")
        else:
            analyses.set_state(session, name, StudyState.DELIVERED, session.get_one(AnalysisRow, name).reason)

    def _study(self, name: str) -> Study:
        with self._database.reading() as session:
            row = session.get_one(AnalysisRow, name)
            return load_study(session, row.study_instance_uid, self._config.instances_folder, row.last_instance_id)


def _delivery_id(name: str, destination: str, attempt: int) -> str:
    return f"deliver-{name}-{destination}-{attempt}"


def _after(at: datetime, seconds: float | None) -> datetime | None:
    return None if seconds is None else at + timedelta(seconds=seconds)
