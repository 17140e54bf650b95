"""Hosts that share a database and a bucket and nothing else: real processes, a server that is stopped and started."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pydicom
import pytest
import sqlalchemy as sa
import yaml
from pydicom import Dataset
from pynetdicom import AE, build_context

from benchmarks.s3_server import S3Server
from dicom_node.archive.archive import open_archive
from dicom_node.cached_files import open_files
from dicom_node.check import check_node
from dicom_node.config import Config, load_config
from dicom_node.database import Database, now
from dicom_node.deliver.commitment import answer_for
from dicom_node.demo.processes import Process, free_port, listens
from dicom_node.domain import Association, Role, StudyState
from dicom_node.leftovers import remove_leftovers
from dicom_node.retention import Retention
from dicom_node.tables import InstanceRow, ResultRow, StudyRow
from dicom_node.web.app import create_app
from tests.receiving_node import ct_image
from tests.storage_scp import ProgrammableStorage
from tests.web.conftest import log_in

pytestmark = pytest.mark.embedded  # has a database of its own

SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700
CALLER = Association("MODALITY", "DICOMNODE", "127.0.0.1")


class Hosts:
    """Receiver on a, worker on b (its model finds nothing, at once), pages on c."""

    def __init__(self, folder: Path, s3_server: S3Server, database_url: str, destination: int) -> None:
        self._folder, self._stack = folder, ExitStack()
        self._settings = {
            "node": {"database_url": database_url},
            "store": s3_server.settings,
            "receive": {"port": free_port(), "host": "127.0.0.1"},
            "completeness": {"quiet_seconds": {"CT": 1.0}},
            "deliver": {"first_retry_seconds": 0.2, "maximum_retry_seconds": 0.5},
            "peers": [
                {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": destination, "receives_results": True}
            ],
        }
        self.a, self.b, self.c = (self.config(name) for name in "abc")
        self.database = Database(database_url)
        self.database.create_tables()
        self.receiver = self._process("receiver", [sys.executable, "-m", "dicom_node", "receiver"], "--config")
        self.worker = self._process("worker", [sys.executable, "-m", "benchmarks.sleeping_worker"])

    def config(self, name: str) -> Config:
        path = self._folder / f"{name}.yaml"
        settings = self._settings | {"node": {**self._settings["node"], "data_folder": str(self._folder / name)}}
        path.write_text(yaml.safe_dump(settings))
        (self._folder / name).mkdir()
        return load_config(path)

    def _process(self, name: str, command: list[str], *option: str) -> Process:
        host = {"receiver": "a", "worker": "b"}[name]
        more = [*option, str(self._folder / f"{host}.yaml"), *(["0", "worker-1"] if name == "worker" else [])]
        return Process(name, [*command, *more], self._folder / f"{name}.log")

    def start(self, process: Process) -> None:
        self._stack.enter_context(process)
        if process is self.receiver:
            process.wait_until(lambda: listens(self.a.receive.port), 30)

    def send(self, datasets: list[Dataset]) -> list[int | None]:
        """The answers, None where none came."""
        association = AE("MODALITY").associate(
            "127.0.0.1",
            self.a.receive.port,
            contexts=[build_context(pydicom.uid.CTImageStorage, pydicom.uid.ExplicitVRLittleEndian)],
            ae_title="DICOMNODE",
        )
        answers: list[int | None] = []
        for dataset in datasets:
            answer = association.send_c_store(dataset) if association.is_established else Dataset()
            answers.append(answer.Status if "Status" in answer else None)
        if association.is_established:
            association.release()
        return answers

    def study(self, uid: str) -> StudyRow | None:
        with self.database.reading() as session:
            return session.get(StudyRow, uid)

    def wait_for(self, uid: str, state: StudyState) -> StudyRow:
        deadline = time.monotonic() + 60
        while (study := self.study(uid)) is None or study.state is not state:
            assert time.monotonic() < deadline, f"{study and study.state}: {self.worker.last_words()}"
            time.sleep(0.1)
        return study

    def paths(self) -> dict[str, str]:
        with self.database.reading() as session:
            rows = session.execute(sa.select(InstanceRow.sop_instance_uid, InstanceRow.path))
            return {str(uid): str(path) for uid, path in rows}

    def close(self) -> None:
        self._stack.close()
        self.database.close()


@pytest.fixture
def hosts(
    tmp_path: Path, s3_server: S3Server, postgresql_url: str, storage_scp: ProgrammableStorage
) -> Iterator[Hosts]:
    made = Hosts(tmp_path, s3_server, postgresql_url, storage_scp.port)
    yield made
    made.close()


def _study(count: int) -> list[Dataset]:
    uid = f"2.25.{secrets.randbits(64)}"
    images = [ct_image(uid, size=64) for _ in range(count)]
    for number, image in enumerate(images, start=1):
        image.InstanceNumber = number
        image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, 5 * number], [1, 0, 0, 0, 1, 0]
        image.PixelSpacing, image.SliceThickness = [0.7, 0.7], 5
        image.RescaleSlope, image.RescaleIntercept, image.RescaleType = 1, -1024, "HU"
        image.ImageType, image.FrameOfReferenceUID = ["ORIGINAL", "PRIMARY", "AXIAL"], f"{uid}.9"
    return images


@pytest.mark.timeout(120)
def test_a_study_goes_through_three_hosts_and_waits_while_the_bucket_is_away(
    hosts: Hosts, s3_server: S3Server, storage_scp: ProgrammableStorage
) -> None:
    hosts.start(hosts.receiver)
    hosts.start(hosts.worker)
    images = _study(12)
    assert hosts.send(images) == [SUCCESS] * 12
    uid = images[0].StudyInstanceUID
    hosts.wait_for(uid, StudyState.DELIVERED)
    assert sorted(received.Modality for received in storage_scp.received) == ["OT", "SR"]
    assert len(s3_server.objects()) == 12 + 2

    browser = log_in(create_app(hosts.c, hosts.database), Role.OPERATOR)
    picture = f"/studies/{uid}/instances/{images[3].SOPInstanceUID}.png"
    with hosts.database.reading() as session:
        results = list(session.scalars(sa.select(ResultRow.sop_instance_uid)))
    s3_server.stop()
    assert browser.get(picture).status_code == 503
    assert browser.get(f"/studies/{uid}").status_code == 200
    late = _study(3)
    assert hosts.send(late) == [OUT_OF_RESOURCES] * 3
    assert hosts.study(late[0].StudyInstanceUID) is None
    s3_server.start()
    assert browser.get(picture).headers["content-type"] == "image/png"
    assert browser.get(f"/studies/{uid}/results/{results[0]}.dcm").content[128:132] == b"DICM"
    assert hosts.send(late) == [SUCCESS] * 3

    # Away between the acknowledgement and the analysis: the study waits, and is delivered once.
    s3_server.stop()
    time.sleep(3)
    assert hosts.wait_for(late[0].StudyInstanceUID, StudyState.RECEIVING)
    s3_server.start()
    hosts.wait_for(late[0].StudyInstanceUID, StudyState.DELIVERED)
    assert len(storage_scp.received) == 4


@pytest.mark.timeout(120)
def test_nothing_acknowledged_is_lost_when_the_receiver_is_killed_again_and_again(
    hosts: Hosts, s3_server: S3Server
) -> None:
    images = {str(image.SOPInstanceUID): image for image in _study(90)}
    acknowledged = set[str]()
    for killed_at in (30, 60, None):
        with hosts.receiver as process:
            process.wait_until(lambda: listens(hosts.a.receive.port), 30)
            killer = threading.Thread(target=_kill_at, args=(process.pid, s3_server, killed_at), daemon=True)
            killer.start()
            waiting = [image for uid, image in images.items() if uid not in acknowledged]
            answers = hosts.send(waiting)
            acknowledged |= {
                str(image.SOPInstanceUID) for image, answer in zip(waiting, answers, strict=True) if answer == SUCCESS
            }
            assert (None in answers) == (killed_at is not None)

    paths = hosts.paths()
    assert set(paths) == acknowledged == set(images)
    fresh = hosts.config("fresh")
    files = [fresh.instances_folder / path for path in paths.values()]
    with open_files(fresh).at_hand(files):
        for file in files:
            read = pydicom.dcmread(file)
            assert read.PixelData == images[read.SOPInstanceUID].PixelData
            assert hashlib.sha256(file.read_bytes()).hexdigest() in file.name


@pytest.mark.timeout(120)
def test_a_study_with_an_object_that_was_damaged_in_the_bucket_fails_with_a_sentence(
    hosts: Hosts, s3_server: S3Server, storage_scp: ProgrammableStorage
) -> None:
    hosts.start(hosts.receiver)
    images = _study(6)
    assert hosts.send(images) == [SUCCESS] * 6
    damaged = next(path for path in s3_server.objects() if path.name.startswith(f"{images[2].SOPInstanceUID}."))
    damaged.write_bytes(damaged.read_bytes()[:-100])
    hosts.start(hosts.worker)

    study = hosts.wait_for(images[0].StudyInstanceUID, StudyState.FAILED)

    assert "1 of 6 files cannot be had from the store" in study.reason
    assert f"{images[2].SOPInstanceUID} is damaged there" in study.reason
    assert storage_scp.received == []

    # What the sentence asks for mends it.
    assert hosts.send([images[2]]) == [SUCCESS]
    files = open_files(hosts.c)
    paths = [hosts.c.instances_folder / path for path in hosts.paths().values()]
    with files.at_hand(paths):
        assert all(path.exists() for path in paths)


def _kill_at(process: int, s3_server: S3Server, objects: int | None) -> None:
    """End a process in the middle of something once there are so many objects."""
    while objects is not None:
        if len(s3_server.objects()) >= objects:
            os.killpg(process, signal.SIGKILL)
            return
        time.sleep(0.001)


@pytest.fixture
def one_host(tmp_path: Path, s3_server: S3Server) -> Iterator[tuple[Config, Database]]:
    config = Config.model_validate(
        {
            "node": {"data_folder": tmp_path / "data", "models_folder": tmp_path},
            "receive": {"minimum_free_megabytes": 0, "maximum_disk_percent": 100},
            "retention": {"study_days": 0},
            "store": s3_server.settings,
        }
    )
    database = Database(config.database_url)
    database.create_tables()
    yield config, database
    database.close()


def _receive(config: Config, database: Database, *images: Dataset) -> None:
    archive = open_archive(config, database)
    for image in images:
        path = config.incoming_folder / "image"
        image.save_as(path, enforce_file_format=True)
        archive.accept(path, CALLER)


def _held(database: Database) -> set[str]:
    with database.reading() as session:
        return {Path(path).name for path in session.scalars(sa.select(InstanceRow.path))}


def test_what_is_removed_goes_from_the_bucket_and_what_came_again_stays(
    one_host: tuple[Config, Database], s3_server: S3Server
) -> None:
    config, database = one_host
    ended, other, again = ct_image("1.2.3", size=32), ct_image("1.2.4", size=32), ct_image("1.2.4", size=32)
    _receive(config, database, ended, other, again, again)
    assert len(s3_server.objects()) == 4
    with database.session.begin() as session:
        study = session.get_one(StudyRow, "1.2.3")
        study.state, study.state_changed_at = StudyState.NOT_APPLICABLE, now()
    files = open_files(config)
    Retention(config, database, files, lambda _: 0).make_room(now())
    [replaced] = {path.name for path in s3_server.objects()} - _held(database)
    assert replaced.startswith(str(again.SOPInstanceUID))
    assert remove_leftovers(config, database, files, now() + timedelta(hours=23)) == 0, "its row may still come"
    assert remove_leftovers(config, database, files, now() + timedelta(hours=25)) == 1

    assert {path.name for path in s3_server.objects()} == _held(database)
    assert len(s3_server.objects()) == 2


def test_what_a_removal_leaves_while_the_bucket_is_away_goes_later(
    one_host: tuple[Config, Database], s3_server: S3Server
) -> None:
    config, database = one_host
    _receive(config, database, ct_image("1.2.3", size=32))
    with database.session.begin() as session:
        session.get_one(StudyRow, "1.2.3").state = StudyState.CANCELLED
    files = open_files(config)
    s3_server.stop()

    with pytest.raises(OSError, match="does not answer"):
        Retention(config, database, files, lambda _: 0).make_room(now())
    s3_server.start()

    assert len(s3_server.objects()) == 1
    assert remove_leftovers(config, database, files, now() + timedelta(hours=25)) == 1
    assert s3_server.objects() == []


def test_a_peer_is_told_what_the_bucket_holds(one_host: tuple[Config, Database], s3_server: S3Server) -> None:
    from dicom_node.tables import CommitmentRequestRow

    config, database = one_host
    held, lost = ct_image("1.2.3", size=32), ct_image("1.2.3", size=32)
    _receive(config, database, held, lost)
    next(path for path in s3_server.objects() if path.name.startswith(str(lost.SOPInstanceUID))).unlink()
    asked = [[str(image.SOPClassUID), str(image.SOPInstanceUID)] for image in (held, lost)]
    with database.session.begin() as session:
        row = CommitmentRequestRow(calling_ae_title="PACS", transaction_uid="1.9", instances=asked, received_at=now())
        session.add(row)
        session.flush()
        number = row.id
    shutil.rmtree(config.instances_folder)  # on this host nothing lies

    with database.reading() as session:
        answer = answer_for(session, number, config.instances_folder, open_files(config))

    assert [uid for _, uid in answer.committed] == [held.SOPInstanceUID]
    assert [uid for _, uid in answer.failed] == [lost.SOPInstanceUID]


def test_check_puts_the_bucket_to_the_test_and_says_what_several_hosts_need(
    one_host: tuple[Config, Database], s3_server: S3Server
) -> None:
    config, _ = one_host

    def checked(**store: object) -> tuple[bool | None, str]:
        changed = config.model_copy(update={"store": config.store.model_copy(update=store)})  # type: ignore[union-attr]
        return next((one.passed, one.text) for one in check_node(changed) if one.subject == "bucket")

    well, unknown, shut_out = checked(), checked(url="s3://nobucket"), checked(key="SOMEBODY")
    s3_server.stop()
    away = checked()

    assert well[0] is None
    assert "PostgreSQL" in well[1]
    assert [unknown[0], shut_out[0], away[0]] == [False] * 3
    assert "there is no bucket nobucket: check store.url" in unknown[1]
    assert "does not let the node in" in shut_out[1]
    assert "does not answer" in away[1]
    assert not list((s3_server.root / "node" / "pacs" / "ai" / "probe").glob("*"))
