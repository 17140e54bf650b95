"""What is wrong with the node and what to do about it: facts in, sentences out, the worst first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from dicom_node.config import Config
from dicom_node.disk import DiskSpace
from dicom_node.domain import DeliveryState, StudyState
from dicom_node.liveness import WorkerState
from dicom_node.web.formatting import age, megabytes
from dicom_node.web.queries.overview import Backlog, Overview

PERIOD = timedelta(days=1)
"""How far back failed studies and refusals are still news."""

PARKED_PERIOD = timedelta(days=7)
"""How far back parked deliveries are still news."""

_QUEUED_TOO_LONG = timedelta(minutes=5)


class Severity(StrEnum):
    """How much it matters."""

    PROBLEM = "problem"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Attention:
    """One thing that needs somebody: what is wrong, what to do, and the page that shows more."""

    severity: Severity
    title: str
    action: str
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the decision rests on.

    ``disk`` is None where the data folder is not there, ``receiver_answers`` where that cannot be told from here.
    ``drifting`` are the models whose input has shifted.
    """

    overview: Overview
    refusals: int
    disk: DiskSpace | None
    models_installed: bool
    workers: Sequence[WorkerState] = ()
    receiver_answers: bool | None = None
    drifting: Sequence[str] = ()


def what_is_wrong(facts: Facts, config: Config, now: datetime) -> tuple[Attention, ...]:
    """Everything that needs somebody, problems before warnings."""
    found = [
        *_receiver(facts, config),
        *_disk(facts, config),
        *_settings(facts, config),
        *_work(facts, now),
        *_workers(facts, now),
        *(_backlog(backlog, now) for backlog in facts.overview.backlogs),
        *_refusals(facts),
        *_drift(facts),
    ]
    return tuple(sorted(found, key=lambda item: item.severity is Severity.WARNING))


def _disk(facts: Facts, config: Config) -> Iterator[Attention]:
    folder, disk = config.node.data_folder.absolute(), facts.disk
    if disk is None:
        yield Attention(
            Severity.PROBLEM,
            f"The data folder {folder} is not there.",
            "Mount or create it, or set node.data_folder in node.yaml, and start the node again.",
        )
    elif disk.is_short:
        yield Attention(
            Severity.PROBLEM,
            f"Images are refused: only {megabytes(disk.free_megabytes)} are free on the disk.",
            f"Free space on the disk of {folder}; the receiver needs {megabytes(disk.needed_megabytes)} "
            "(receive.minimum_free_megabytes, receive.maximum_disk_percent) and goes on by itself.",
        )
    elif disk.is_scarce:
        yield Attention(
            Severity.WARNING,
            f"The disk is filling up: {megabytes(disk.free_megabytes)} are free.",
            f"Below {megabytes(disk.needed_megabytes)} images are refused. Free space on the disk of {folder}.",
        )


def _receiver(facts: Facts, config: Config) -> Iterator[Attention]:
    if facts.receiver_answers is False:
        yield Attention(
            Severity.PROBLEM,
            "The receiver does not answer, so nothing can be sent to this node.",
            f"Check that 'dicom-node serve' or 'dicom-node receiver' runs here; its log has the cause. It listens on "
            f"{config.receive.ports_in_words}.",
        )


def _settings(facts: Facts, config: Config) -> Iterator[Attention]:
    if not facts.models_installed:
        yield Attention(
            Severity.PROBLEM,
            "No model is installed, so no study can be analysed.",
            f"Put a bundle with configs/node.yaml into {config.node.models_folder.absolute()} and restart the worker.",
        )
    if not config.destinations:
        yield Attention(
            Severity.PROBLEM,
            "Results go nowhere: no destination is configured.",
            "Add a peer with 'receives_results: true' to node.yaml and restart the node.",
            "/peers",
        )


def _work(facts: Facts, now: datetime) -> Iterator[Attention]:
    queued_since = facts.overview.queued_since
    if queued_since is not None and now - queued_since > _QUEUED_TOO_LONG:
        yield Attention(
            Severity.PROBLEM,
            f"Studies are not being taken up: the oldest has been queued for {age(queued_since, now)}.",
            "Check that a worker runs ('dicom-node worker') and read its log.",
            f"/studies?state={StudyState.QUEUED}",
        )
    if failed := facts.overview.ended.get(StudyState.FAILED, 0):
        yield Attention(
            Severity.PROBLEM,
            f"{_count(failed, 'study', 'studies')} of the last 24 hours failed.",
            "Each study's page names the cause.",
            f"/studies?state={StudyState.FAILED}",
        )


def _workers(facts: Facts, now: datetime) -> Iterator[Attention]:
    for worker in facts.workers:
        if worker.is_alive(now) and worker.trouble:
            yield Attention(
                Severity.WARNING,
                f"{worker.worker_id} on {worker.host} works in part: {worker.trouble}",
                "It goes on with what is left. Mend the cause and restart the worker to have all of it again.",
            )
        elif not worker.is_alive(now) and worker.stopped_at is None and now - worker.beat_at < PERIOD:
            others = " Others have taken over its studies." if worker.taken_over_at is not None else ""
            yield Attention(
                Severity.PROBLEM,
                f"{worker.worker_id} on {worker.host} has been silent for {age(worker.beat_at, now)}.{others}",
                "Check its host and its log, and start it again; 'dicom-node workers list' shows all.",
            )


def _backlog(backlog: Backlog, now: datetime) -> Attention:
    results = _count(backlog.count, "result", "results")
    link = f"/studies/{backlog.study_instance_uid}"
    answer = f"Last answer: {backlog.message.rstrip('.')}. " if backlog.message else ""
    if backlog.state is DeliveryState.PARKED:
        return Attention(
            Severity.PROBLEM,
            f"{backlog.destination} refused {results} for good.",
            f"{answer}Correct the cause at the peer, then press 'Try delivery again' on the study's page.",
            link,
        )
    due = backlog.next_attempt_at
    when = f"in {age(now, due)}" if due is not None and due > now else "shortly"
    return Attention(
        Severity.WARNING,
        f"{results} for {backlog.destination} could not be delivered yet.",
        f"{answer}The node tries again {when}, until it is accepted. "
        "Whether the peer answers is tested on the peers page; 'Try delivery again' on the study's page does not wait.",
        link,
    )


def _refusals(facts: Facts) -> Iterator[Attention]:
    if facts.refusals:
        yield Attention(
            Severity.WARNING,
            f"{_count(facts.refusals, 'refusal', 'refusals')} by the receiver in the last 24 hours.",
            "The peers page names the sender, the likely cause and the setting to change.",
            "/peers#refusals",
        )


def _drift(facts: Facts) -> Iterator[Attention]:
    for model in facts.drifting:
        yield Attention(
            Severity.WARNING,
            f"What {model} is given has changed.",
            "Its page says in what. Look at its latest results before you rely on them.",
            f"/models/{model}#drift",
        )


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
