"""Random and mutated PDUs, messages and data sets against the receiver process, and what it held of them afterwards."""

from __future__ import annotations

import argparse
import random
import sqlite3
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import generate_uid

from benchmarks.mutation import mutate
from benchmarks.peer import (
    EXPLICIT_CONTEXT,
    IMPLICIT_CONTEXT,
    Peer,
    associate_request,
    echo_request,
    release_request,
    store_request,
)
from benchmarks.report import Report
from benchmarks.storage_scps import NodeReceiver
from dicom_node.demo.phantoms import chest_ct

_ANSWER_SECONDS = 5.0
_PATIENCE_SECONDS = 0.2
_LOOK_EVERY = 100
_NETWORK_TIMEOUT_SECONDS = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """For how long, and from which seed."""
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, help="at most so many; else as many as the time allows")


@dataclass(slots=True)
class Outcome:
    """What was sent, what was acknowledged, and what was wrong; ``acknowledged`` is data set by SOP Instance UID."""

    cases: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    acknowledged: dict[str, bytes] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def run(arguments: argparse.Namespace) -> Report:
    """Send for the time given; fails where the receiver stops, or holds other bytes than it acknowledged."""
    report = Report(f"fuzzing of the receiver, seed {arguments.seed}")
    with tempfile.TemporaryDirectory() as folder:
        outcome = fuzz(Path(folder), arguments.seconds, arguments.seed, arguments.cases)
    report.rows = [{"kind": kind, "cases": count} for kind, count in sorted(outcome.cases.items())]
    answers = ", ".join(f"{status}: {count}" for status, count in sorted(outcome.statuses.items()))
    report.notes.append(f"answers to C-STORE of mutated data sets: {answers}")
    report.notes.append(f"acknowledged and read back byte by byte: {len(outcome.acknowledged)}")
    report.failures = outcome.failures
    return report


def fuzz(folder: Path, seconds: float, seed: int, cases: int | None = None) -> Outcome:
    """Fuzz a receiver process of its own on ``folder``."""
    dice, outcome, sources = random.Random(seed), Outcome(), _sources()  # noqa: S311 - not for secrets
    receiver = NodeReceiver(folder, network_timeout_seconds=_NETWORK_TIMEOUT_SECONDS)
    with receiver:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and outcome.cases.total() < (cases or 1 << 62) and not outcome.failures:
            kind = dice.choice(("random PDUs", "mutated conversation", "order of PDUs", "mutated data set"))
            outcome.cases[kind] += 1
            if kind == "mutated data set":
                _store_mutated(receiver, dice, sources, outcome)
            else:
                _converse(receiver.port, _bytes(kind, receiver.ae_title, dice, sources))
            if outcome.cases.total() % _LOOK_EVERY == 0:
                _still_serves(receiver, outcome)
        _still_serves(receiver, outcome)
        time.sleep(_NETWORK_TIMEOUT_SECONDS + 1.0)  # what was left half open has been cut off by now
    _read_back(folder / "data", outcome)
    log = receiver.process.log.read_text(encoding="utf-8", errors="replace")
    if "Traceback" in log:
        outcome.failures.append(f"the receiver met something unforeseen: {log[log.index('Traceback') :][:2000]}")
    return outcome


def _sources() -> list[Dataset]:
    """Small images to begin with, of several kinds of element."""
    return chest_ct(slices=2, size=16)


def _encoded(dataset: Dataset, sop_instance_uid: str) -> bytes:
    """The data set alone, without file meta information, in explicit little endian."""
    dataset.SOPInstanceUID = sop_instance_uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    buffer = BytesIO()
    dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True, enforce_file_format=False)
    content = buffer.getvalue()
    # Without a preamble the file begins with the group length of the meta information (PS3.10 7.1).
    return content[12 + int.from_bytes(content[8:12], "little") :] if content[:4] == b"\x02\x00\x00\x00" else content


def _bytes(kind: str, called: str, dice: random.Random, sources: list[Dataset]) -> list[bytes]:
    """What is sent over one connection, piece by piece."""
    if kind == "random PDUs":
        return [
            dice.choice([bytes([dice.randrange(10), 0]) + dice.randbytes(4), b""]) + dice.randbytes(dice.randrange(300))
            for _ in range(dice.randint(1, 4))
        ]
    uid = generate_uid()
    store = store_request(uid, _encoded(dice.choice(sources), uid))
    conversation = [associate_request(called), echo_request(), store, release_request()]
    if kind == "order of PDUs":
        dice.shuffle(conversation)
        return conversation[: dice.randint(1, 4)]
    number = dice.randrange(4)
    conversation[number] = mutate(conversation[number], dice)
    return conversation[: dice.randint(number + 1, 4)]


def _converse(port: int, pieces: list[bytes]) -> None:
    """Send and hang up; the other side may do so before."""
    try:
        with Peer(port, _PATIENCE_SECONDS) as peer:
            for piece in pieces:
                peer.connection.sendall(piece)
            peer.until_closed()
    except OSError:
        return


def _store_mutated(receiver: NodeReceiver, dice: random.Random, sources: list[Dataset], outcome: Outcome) -> None:
    uid = generate_uid()
    data_set = _encoded(dice.choice(sources), uid)
    if dice.random() < 0.9:
        data_set = mutate(data_set, dice)
    context = EXPLICIT_CONTEXT if dice.random() < 0.9 else IMPLICIT_CONTEXT
    try:
        with Peer(receiver.port, _ANSWER_SECONDS) as peer:
            peer.associate(receiver.ae_title)
            peer.connection.sendall(store_request(uid, data_set, context))
            status = peer.status()
            if status is not None:
                peer.connection.sendall(release_request())
                peer.receive()
    except (OSError, EOFError) as error:
        outcome.failures.append(f"a C-STORE found no association ({error!r})")
        return
    outcome.statuses["none" if status is None else f"0x{status:04X}"] += 1
    if status == 0:
        outcome.acknowledged[uid] = data_set


def _still_serves(receiver: NodeReceiver, outcome: Outcome) -> None:
    try:
        receiver.process.check_running()
        with Peer(receiver.port, _ANSWER_SECONDS) as peer:
            peer.associate(receiver.ae_title)
            peer.connection.sendall(echo_request())
            status = peer.status()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
        outcome.failures.append(f"the receiver no longer serves: {error!r}")
        return
    if status != 0:
        outcome.failures.append(f"C-ECHO was answered with {status}")


def _read_back(data: Path, outcome: Outcome) -> None:
    """Hold what lies on disk and in the index to what was acknowledged."""
    with sqlite3.connect(data / "node.sqlite") as index:
        rows = dict(index.execute("SELECT sop_instance_uid, path FROM instances").fetchall())
    for uid, sent in outcome.acknowledged.items():
        if uid not in rows:
            outcome.failures.append(f"{uid} was acknowledged and is not in the index")
            continue
        content = (data / "instances" / rows[uid]).read_bytes()
        if not content.endswith(sent):
            outcome.failures.append(f"{uid} was acknowledged, and other bytes lie on disk")
        elif pydicom.dcmread(data / "instances" / rows[uid]).SOPInstanceUID != uid:
            outcome.failures.append(f"{uid} was acknowledged and is another object")
    outside = [str(path) for path in data.rglob("*.dcm") if not path.is_relative_to(data / "instances")]
    left = [str(path) for path in (data / "incoming").iterdir()]
    if outside or left:
        outcome.failures.append(f"files where none should be: {outside + left}")
