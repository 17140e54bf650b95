"""Disks that fill up, become read-only or slow while images arrive and results are made."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pydicom
import pytest
import sqlalchemy as sa
import yaml
from pydicom import Dataset, uid
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification

from benchmarks.storage_scps import NodeReceiver
from dicom_node.domain import StudyState
from dicom_node.tables import AnalysisRow, RefusalRow, ResultRow, StudyRow
from tests.faults.conftest import read_only
from tests.receiving_node import ReceivingNode, ct_image
from tests.stand_ins import folder_files
from tests.storage_scp import ProgrammableStorage
from tests.test_workflow import NodeUnderTest

Start = Callable[..., ReceivingNode]
Mount = Callable[[int], Path]
ENDED = (StudyState.DELIVERED, StudyState.FAILED, StudyState.NOT_APPLICABLE)


def test_a_full_disk_refuses_images_and_loses_none_that_was_acknowledged(start_receiving: Start, mount: Mount) -> None:
    disk = mount(8)
    node = start_receiving(disk / "data")
    images = [ct_image() for _ in range(80)]

    statuses = node.send(images)

    acknowledged = {image.SOPInstanceUID for image, status in zip(images, statuses, strict=True) if status == 0x0000}
    assert 20 < len(acknowledged) < 80
    assert set(statuses) <= {0x0000, 0xA700, None}
    assert 0xA700 in statuses
    assert acknowledged <= node.held()
    assert folder_files(node.config.incoming_folder) == []


def test_images_are_taken_again_once_there_is_room(start_receiving: Start, mount: Mount) -> None:
    disk = mount(16)
    node = start_receiving(disk / "data", maximum_disk_percent=70)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(12 << 20))

    assert node.send([ct_image()]) == [0xA700]
    ballast.unlink()
    image = ct_image()
    assert node.send([image]) == [0x0000]

    assert node.held() == {image.SOPInstanceUID}
    with node.database.reading() as session:
        assert "disk almost full" in session.scalars(sa.select(RefusalRow.reason)).one()


def test_a_read_only_store_refuses_images_until_it_can_be_written(start_receiving: Start, tmp_path: Path) -> None:
    node = start_receiving(tmp_path)
    before, during, after = ct_image("1.2.3"), ct_image("1.2.4"), ct_image("1.2.5")
    assert node.send([before]) == [0x0000]

    with read_only(node.config.instances_folder):
        assert node.send([during]) == [0xA700]

    assert node.send([after]) == [0x0000]
    assert node.held() == {before.SOPInstanceUID, after.SOPInstanceUID}
    with node.database.reading() as session:
        assert session.scalars(sa.select(RefusalRow.reason)).one() == "store cannot be written: Read-only file system"


@pytest.fixture
def work(tmp_path: Path, storage_scp: ProgrammableStorage) -> Iterator[NodeUnderTest]:
    node = NodeUnderTest(tmp_path, storage_scp.port)
    yield node
    node.close()


def _fill(folder: Path) -> Path:
    """Leave not a byte on the disk of ``folder``."""
    ballast = folder / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
    with suppress(OSError), ballast.open("ab", buffering=0) as file:
        while True:
            file.write(b"0")
    return ballast


def _wait_for_log(caplog: pytest.LogCaptureFixture, text: str) -> None:
    deadline = time.monotonic() + 60
    while text not in caplog.text:
        assert time.monotonic() < deadline, f"never logged: {text}"
        time.sleep(0.02)


def _whole(node: NodeUnderTest | ReceivingNode, storage_scp: ProgrammableStorage) -> None:
    """One result set, on disk and at the destination, and nothing half-written beside it."""
    with node.database.reading() as session:
        paths = {node.config.results_folder / path for path in session.scalars(sa.select(ResultRow.path))}
        assert set(session.scalars(sa.select(AnalysisRow.interrupted))) == {0}, "to wait is not to crash"
    assert set(folder_files(node.config.results_folder)) == paths
    assert {pydicom.dcmread(path).SOPInstanceUID for path in paths} == {
        received.SOPInstanceUID for received in storage_scp.received
    }
    assert sorted(received.Modality for received in storage_scp.received) == ["OT", "SR"]


def test_results_wait_for_room_on_the_disk(
    work: NodeUnderTest,
    storage_scp: ProgrammableStorage,
    phantom_abdomen_ct: list[Dataset],
    mount: Mount,
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk = mount(4)
    work.config.results_folder.symlink_to(disk)
    work.work()
    ballast = _fill(disk)

    uid = work.receive(phantom_abdomen_ct)
    _wait_for_log(caplog, "read is tried again in 1 s: No space left on device")
    waiting = work.study(uid).state
    ballast.unlink()

    assert waiting is StudyState.ANALYSING
    assert work.wait_for(uid, StudyState.DELIVERED).reason == ""
    _whole(work, storage_scp)


def test_results_wait_until_a_read_only_store_can_be_written(
    work: NodeUnderTest,
    storage_scp: ProgrammableStorage,
    phantom_abdomen_ct: list[Dataset],
    caplog: pytest.LogCaptureFixture,
) -> None:
    work.work()

    with read_only(work.config.results_folder):
        uid = work.receive(phantom_abdomen_ct)
        _wait_for_log(caplog, "read is tried again in 1 s: Read-only file system")
        assert work.study(uid).state is StudyState.ANALYSING

    assert work.wait_for(uid, StudyState.DELIVERED).reason == ""
    _whole(work, storage_scp)


@pytest.mark.embedded
def test_a_worker_whose_whole_disk_is_full_takes_its_work_up_when_there_is_room(
    start_receiving: Start, storage_scp: ProgrammableStorage, phantom_abdomen_ct: list[Dataset], mount: Mount
) -> None:
    disk = mount(24)
    node = start_receiving(disk / "data")
    settings = {
        "node": {"data_folder": str(disk / "data")},
        "completeness": {"quiet_seconds": {"CT": 2.0}},
        "peers": [
            {"name": "a", "ae_title": "A", "host": "127.0.0.1", "port": storage_scp.port, "receives_results": True}
        ],
    }
    configuration = disk / "node.yaml"
    configuration.write_text(yaml.safe_dump(settings), encoding="utf-8")
    worker = subprocess.Popen([sys.executable, "-m", "tests.faults.mortal_worker", str(configuration)])
    try:
        while not (disk / "data" / "workflow.sqlite").exists():
            time.sleep(0.05)
        time.sleep(1)
        assert set(node.send(phantom_abdomen_ct)) == {0x0000}
        ballast = _fill(disk)
        time.sleep(4)
        during = _states(node)
        ballast.unlink()
        deadline = time.monotonic() + 60
        while not _states(node) <= set(ENDED) and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        worker.terminate()
        worker.wait()

    assert not during & set(ENDED)
    assert _states(node) == {StudyState.DELIVERED}
    _whole(node, storage_scp)
    for name in ("node.sqlite", "workflow.sqlite"):
        with sqlite3.connect(disk / "data" / name) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def _states(node: ReceivingNode) -> set[StudyState]:
    with node.database.reading() as session:
        return set(session.scalars(sa.select(StudyRow.state)))


_SLOW = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>
int fsync(int file) {
    if (access(getenv("SLOW"), F_OK) == 0) usleep(700000);
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(file);
}
"""


def test_a_slow_disk_slows_the_sender_and_nobody_else(tmp_path: Path) -> None:
    """Each sync takes 0.7 s. Whoever only asks whether the node lives does not wait for it."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler to slow the disk with (Debian: gcc)")
    library = tmp_path / "slow.so"
    command = [compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", str(library), "-ldl"]
    subprocess.run(command, input=_SLOW, text=True, check=True)
    environment = {**os.environ, "LD_PRELOAD": str(library), "SLOW": str(tmp_path / "slow")}
    receiver = NodeReceiver(tmp_path, environment=environment, maximum_disk_percent=100)
    images = [ct_image(size=64) for _ in range(3)]
    took: list[float] = []

    def send(image: Dataset) -> None:
        began = time.monotonic()
        association = _associate(receiver.port, uid.CTImageStorage)
        assert association.send_c_store(image).Status == 0x0000
        took.append(time.monotonic() - began)
        association.release()

    with receiver:
        (tmp_path / "slow").touch()
        senders = [threading.Thread(target=send, args=(image,)) for image in images]
        for sender in senders:
            sender.start()
        time.sleep(0.2)
        began = time.monotonic()
        association = _associate(receiver.port, Verification)
        assert association.send_c_echo().Status == 0x0000
        echoed = time.monotonic() - began
        association.release()
        for sender in senders:
            sender.join()
        (tmp_path / "slow").unlink()

    assert min(took) > 0.7, "nobody is told success before the disk has it"
    assert echoed < 0.7
    assert receiver.held() == 3


def _associate(port: int, sop_class: str) -> Association:
    entity = AE("MODALITY")
    entity.add_requested_context(sop_class, uid.ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", port, ae_title="DICOMNODE")
    assert association.is_established
    return association
