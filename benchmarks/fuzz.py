"""Random and mutated PDUs, messages and data sets against the receiver process, and what it held of them afterwards."""

from __future__ import annotations

import argparse
import random
import sqlite3
import tempfile
import time
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)

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
from dicom_node.archive.header import read_header
from dicom_node.demo.phantoms import chest_ct
from dicom_node.receive.incoming import file_meta
from dicom_node.receive.refusal import Refused

_ANSWER_SECONDS = 5.0
_PATIENCE_SECONDS = 0.2
_LOOK_EVERY = 100
_NETWORK_TIMEOUT_SECONDS = 2.0
_KINDS = ("random PDUs", "mutated conversation", "order of PDUs", "mutated data set", "mutated file")
_FILES_A_CASE = 50
_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """For how long, and from which seed."""
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, help="at most so many; else as many as the time allows")


@dataclass(slots=True)
class Outcome:
    """What was sent, what was acknowledged, and what was wrong; ``acknowledged`` is data set by SOP Instance UID.

    ``files`` were looked at without the network, ``files_taken`` of them found whole.
    """

    cases: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    acknowledged: dict[str, bytes] = field(default_factory=dict)
    files: int = 0
    files_taken: int = 0
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
    report.notes.append(
        f"mutated files: {outcome.files}; of these {outcome.files_taken} found whole, and the same by pydicom"
    )
    report.failures = outcome.failures
    return report


def fuzz(folder: Path, seconds: float, seed: int, cases: int | None = None) -> Outcome:
    """Fuzz a receiver process of its own on ``folder``."""
    dice, outcome, sources = random.Random(seed), Outcome(), _sources()  # noqa: S311 - not for secrets
    receiver = NodeReceiver(folder, network_timeout_seconds=_NETWORK_TIMEOUT_SECONDS)
    with receiver:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and outcome.cases.total() < (cases or 1 << 62) and not outcome.failures:
            kind = dice.choice(_KINDS)
            outcome.cases[kind] += 1
            if kind == "mutated file":
                for _ in range(_FILES_A_CASE):
                    _read_twice(folder / "mutated.dcm", dice, sources, outcome)
            elif kind == "mutated data set":
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


def _encoded(dataset: Dataset, sop_instance_uid: str, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """The data set alone, without file meta information."""
    dataset.SOPInstanceUID = sop_instance_uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = syntax.is_implicit_VR, syntax.is_little_endian
    write_dataset(buffer, dataset)
    return buffer.getvalue()


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


def _read_twice(path: Path, dice: random.Random, sources: list[Dataset], outcome: Outcome) -> None:
    """Hold the look that an object gets before it is acknowledged to what pydicom reads of it afterwards."""
    source, uid, syntax = dice.choice(sources), generate_uid(), dice.choice(_SYNTAXES)
    data_set = mutate(_encoded(source, uid, syntax), dice)
    if syntax.is_deflated:
        deflating = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data_set = deflating.compress(data_set) + deflating.flush()
    path.write_bytes(file_meta(source.SOPClassUID, UID(uid), syntax, "FUZZ") + data_set)
    outcome.files += 1
    try:
        header = read_header(path)
    except Refused:
        return
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
        outcome.failures.append(f"a mutated file met something unforeseen: {error!r}")
        return
    outcome.files_taken += 1
    seen = (
        header.sop_instance_uid,
        header.sop_class_uid,
        header.study_instance_uid,
        header.series_instance_uid,
        header.analysable,
    )
    try:
        dataset = pydicom.dcmread(path)
        read: tuple[object, ...] = (
            dataset.SOPInstanceUID,
            dataset.SOPClassUID,
            dataset.StudyInstanceUID,
            dataset.SeriesInstanceUID,
            any(keyword in dataset for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")),
        )
    except Exception as error:  # noqa: BLE001 - as above
        read = (repr(error),)
    if read != seen:
        outcome.failures.append(f"a mutated file was taken for {seen}, and pydicom reads {read}")
        kept = Path(tempfile.gettempdir()) / f"dicom-node-fuzz-{uid}.dcm"
        kept.write_bytes(path.read_bytes())
        outcome.failures.append(f"it is kept as {kept}")


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
        elif pydicom.dcmread(data / "instances" / rows[uid]).get("SOPInstanceUID") != uid:
            outcome.failures.append(f"{uid} was acknowledged and is another object")
    outside = [str(path) for path in data.rglob("*.dcm") if not path.is_relative_to(data / "instances")]
    left = [str(path) for path in (data / "incoming").iterdir()]
    if outside or left:
        outcome.failures.append(f"files where none should be: {outside + left}")
