"""The workflow of a study, from complete to delivered, with a stand-in for the models and a real destination."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
import sqlalchemy as sa
from dbos._dbos import _get_or_create_dbos_registry
from pydicom.dataset import Dataset

from dicom_node.archive.archive import Archive
from dicom_node.archive.index import InstanceIndex
from dicom_node.archive.store import InstanceStore
from dicom_node.config import Config
from dicom_node.database import Database, now
from dicom_node.domain import MANUFACTURER, Association, DeliveryState, StudyState
from dicom_node.tables import AnalysisRow, DecisionRow, DeliveryRow, FindingRow, ResultRow, StudyRow
from dicom_node.worker import Worker
from tests.stand_ins import StandInModels, StandInReader, crash, refuse
from tests.storage_scp import ProgrammableStorage

CALLER = Association("MODALITY", "DICOMNODE", "127.0.0.1")


class NodeUnderTest:
    """Archive and worker in this process, on SQLite in a temporary folder."""

    def __init__(self, folder: Path, destination_port: int | None, **destination: object) -> None:
        peers = (
            []
            if destination_port is None
            else [
                {
                    "name": "archive",
                    "ae_title": "ARCHIVE",
                    "host": "127.0.0.1",
                    "port": destination_port,
                    "receives_results": True,
                    **destination,
                }
            ]
        )
        self.config = Config.model_validate(
            {
                "node": {"data_folder": folder},
                "completeness": {"quiet_seconds": {"CT": 0.3, "DX": 0.3}},
                "worker": {"concurrent_studies": 1},  # so that the order can be told
                "deliver": {"first_retry_seconds": 0.1, "maximum_retry_seconds": 0.2, "timeout_seconds": 5},
                "peers": peers,
            }
        )
        self.database = Database(self.config.database_url)
        self.database.create_tables()
        store = InstanceStore(self.config.instances_folder, self.config.incoming_folder)
        self._archive = Archive(store, InstanceIndex(self.database))
        self.worker: Worker | None = None

    def work(self, reader: StandInReader | None = None, **unavailable: str) -> None:
        models = StandInModels(reader)
        models.unavailable = unavailable
        self.worker = Worker(self.config, self.database, models)  # type: ignore[arg-type]
        self.worker.start()

    def rest(self) -> None:
        if self.worker is not None:
            self.worker.stop()
            # One process holds one workflow engine; the next test brings its own.
            _get_or_create_dbos_registry().instance_info_map.clear()
            self.worker = None

    def receive(self, datasets: list[Dataset]) -> str:
        for dataset in datasets:
            path = self.config.incoming_folder / f"{dataset.SOPInstanceUID}.part"
            pydicom.dcmwrite(path, dataset, enforce_file_format=True)
            self._archive.accept(path, CALLER)
        return str(datasets[0].StudyInstanceUID)

    def study(self, uid: str) -> StudyRow:
        with self.database.reading() as session:
            return session.get_one(StudyRow, uid)

    def rows(self, row: type) -> list:
        with self.database.reading() as session:
            return list(session.scalars(sa.select(row)))

    def wait_for(self, uid: str, *states: StudyState, seconds: float = 60) -> StudyRow:
        deadline = time.monotonic() + seconds
        while (study := self.study(uid)).state not in states:
            assert time.monotonic() < deadline, f"still {study.state}: {study.reason}"
            time.sleep(0.05)
        return study

    def close(self) -> None:
        self.rest()
        self.database.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., NodeUnderTest]]:
    nodes: list[NodeUnderTest] = []

    def make(destination_port: int | None, **destination: object) -> NodeUnderTest:
        nodes.append(NodeUnderTest(tmp_path, destination_port, **destination))
        return nodes[-1]

    yield make
    for node in nodes:
        node.close()


Start = Callable[..., NodeUnderTest]


def _with(dataset: Dataset, **attributes: object) -> Dataset:
    changed = copy.deepcopy(dataset)  # a shallow copy would share its elements with the original
    for keyword, value in attributes.items():
        setattr(changed, keyword, value)
    changed.file_meta.MediaStorageSOPInstanceUID = changed.SOPInstanceUID
    return changed


def test_a_study_ends_as_one_report_and_one_capture_at_its_destination(
    start: Start, storage_scp: ProgrammableStorage, phantom_abdomen_ct: list[Dataset]
) -> None:
    node = start(storage_scp.port)
    node.work()

    uid = node.receive(phantom_abdomen_ct)

    node.wait_for(uid, StudyState.DELIVERED)
    assert sorted(received.Modality for received in storage_scp.received) == ["OT", "SR"]
    assert {received.StudyInstanceUID for received in storage_scp.received} == {uid}
    assert {received.Manufacturer for received in storage_scp.received} == {MANUFACTURER}
    [finding] = node.rows(FindingRow)
    assert (finding.label, finding.probability) == ("Tumour", 0.9)


def test_the_same_study_sent_again_is_not_analysed_again(
    start: Start, storage_scp: ProgrammableStorage, phantom_abdomen_ct: list[Dataset]
) -> None:
    node = start(storage_scp.port)
    reader = StandInReader()
    node.work(reader)
    uid = node.receive(phantom_abdomen_ct)
    node.wait_for(uid, StudyState.DELIVERED)

    node.receive(phantom_abdomen_ct)
    time.sleep(1)

    assert node.study(uid).state is StudyState.DELIVERED
    assert reader.reads == 1
    assert storage_scp.requests == 2


def test_late_images_start_a_new_analysis_that_names_the_one_before(
    start: Start, storage_scp: ProgrammableStorage, phantom_abdomen_ct: list[Dataset]
) -> None:
    node = start(storage_scp.port)
    node.work()
    uid = node.receive(phantom_abdomen_ct[:-2])
    node.wait_for(uid, StudyState.DELIVERED)

    node.receive(phantom_abdomen_ct[-2:])
    node.wait_for(uid, StudyState.RECEIVING)
    node.wait_for(uid, StudyState.DELIVERED)

    assert len(node.rows(AnalysisRow)) == 2
    reports = [received for received in storage_scp.received if received.Modality == "SR"]
    assert len({report.SOPInstanceUID for report in reports}) == 2
    named = reports[1].PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPInstanceUID == reports[0].SOPInstanceUID


def test_results_that_come_back_do_not_start_an_analysis(
    start: Start, storage_scp: ProgrammableStorage, phantom_abdomen_ct: list[Dataset]
) -> None:
    node = start(storage_scp.port)
    reader = StandInReader()
    node.work(reader)
    uid = node.receive(phantom_abdomen_ct)
    node.wait_for(uid, StudyState.DELIVERED)

    for received in storage_scp.received:
        received.file_meta = pydicom.dataset.FileMetaDataset()
        received.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    node.receive(list(storage_scp.received))
    time.sleep(1)

    assert node.study(uid).state is StudyState.DELIVERED
    assert reader.reads == 1


def test_a_study_that_no_model_reads_says_why(
    start: Start, storage_scp: ProgrammableStorage, phantom_radiograph: Dataset
) -> None:
    node = start(storage_scp.port)
    node.work()

    uid = node.receive([phantom_radiograph])

    study = node.wait_for(uid, StudyState.NOT_APPLICABLE)
    assert "stand_in" in study.reason
    assert [row.model for row in node.rows(DecisionRow)] == [None]
    assert storage_scp.requests == 0


def test_a_study_of_reports_only_says_that_it_holds_no_images(
    start: Start, storage_scp: ProgrammableStorage, phantom_abdomen_ct: list[Dataset]
) -> None:
    node = start(storage_scp.port)
    node.work()

    uid = node.receive([_with(phantom_abdomen_ct[0], Manufacturer=MANUFACTURER)])

    assert node.wait_for(uid, StudyState.NOT_APPLICABLE).reason


def test_a_destination_that_asks_for_it_is_told_why_there_is_no_result(
    start: Start, storage_scp: ProgrammableStorage, phantom_radiograph: Dataset
) -> None:
    node = start(storage_scp.port, notices=["SC"])
    node.work()

    uid = node.receive([phantom_radiograph])

    node.wait_for(uid, StudyState.NOT_APPLICABLE)
    deadline = time.monotonic() + 60
    while not storage_scp.received:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    [notice] = storage_scp.received
    assert (notice.StudyInstanceUID, notice.Modality) == (uid, "OT")
    time.sleep(0.5)
    assert node.study(uid).state is StudyState.NOT_APPLICABLE


def test_an_image_that_the_model_refuses_is_not_applicable_with_its_sentence(
    start: Start, storage_scp: ProgrammableStorage, phantom_abdomen_ct: list[Dataset]
) -> None:
    node = start(storage_scp.port)
    node.work(StandInReader(refuse))

    uid = node.receive(phantom_abdomen_ct)

    assert "hand" in node.wait_for(uid, StudyState.NOT_APPLICABLE).reason


def test_a_model_that_crashes_fails_the_study_visibly_and_the_next_one_runs(
    start: Start, storage_scp: ProgrammableStorage, phantom_abdomen_ct: list[Dataset], phantom_chest_ct: list[Dataset]
) -> None:
    node = start(storage_scp.port)
    crashes = iter([crash])
    node.work(StandInReader(lambda: next(crashes, lambda: None)()))

    first = node.receive(phantom_abdomen_ct)
    study = node.wait_for(first, StudyState.FAILED)
    second = node.receive(phantom_chest_ct)

    assert "RuntimeError" in study.reason
    node.wait_for(second, StudyState.DELIVERED)


def test_a_study_whose_model_could_not_be_loaded_has_failed(
    start: Start, storage_scp: ProgrammableStorage, phantom_abdomen_ct: list[Dataset]
) -> None:
    node = start(storage_scp.port)
    node.work(stand_in="its weights are missing")

    uid = node.receive(phantom_abdomen_ct)

    assert "weights are missing" in node.wait_for(uid, StudyState.FAILED).reason


def test_a_series_too_large_for_the_worker_is_refused_before_it_is_loaded(
    start: Start, storage_scp: ProgrammableStorage, phantom_abdomen_ct: list[Dataset]
) -> None:
    node = start(storage_scp.port)
    node.config = node.config.model_copy(
        update={"worker": node.config.worker.model_copy(update={"maximum_series_megabytes": 0})}
    )
    reader = StandInReader()
    node.work(reader)

    uid = node.receive(phantom_abdomen_ct)

    study = node.wait_for(uid, StudyState.FAILED)
    assert "too large: 1 MB decoded, worker.maximum_series_megabytes allows 0" in study.reason
    assert reader.reads == 0


def test_a_workflow_that_dies_before_it_can_say_why_ends_its_study_all_the_same(
    start: Start,
    storage_scp: ProgrammableStorage,
    phantom_abdomen_ct: list[Dataset],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = start(storage_scp.port)

    def fail(*_: object) -> None:
        raise RuntimeError("the row cannot be written")

    monkeypatch.setattr("dicom_node.workflow.analyses.open_analysis", fail)
    node.work()

    uid = node.receive(phantom_abdomen_ct)

    assert "worker's log" in node.wait_for(uid, StudyState.FAILED).reason


def test_a_release_begins_the_analysis_at_once(
    start: Start, storage_scp: ProgrammableStorage, phantom_abdomen_ct: list[Dataset]
) -> None:
    node = start(storage_scp.port)
    node.config = node.config.model_copy(
        update={"completeness": node.config.completeness.model_copy(update={"quiet_seconds": {"CT": 3600}})}
    )
    node.work()
    uid = node.receive(phantom_abdomen_ct)
    time.sleep(0.5)
    assert node.study(uid).state is StudyState.RECEIVING

    with node.database.session.begin() as session:
        session.get_one(StudyRow, uid).released_at = now()

    node.wait_for(uid, StudyState.DELIVERED)


def test_a_destination_that_is_out_of_resources_is_tried_again_until_it_accepts(
    start: Start, storage_scp: ProgrammableStorage, phantom_abdomen_ct: list[Dataset]
) -> None:
    node = start(storage_scp.port)
    storage_scp.statuses.extend([0xA700, 0xA700, 0xA700])
    node.work()

    uid = node.receive(phantom_abdomen_ct)

    node.wait_for(uid, StudyState.DELIVERED)
    assert storage_scp.requests == 5
    assert max(row.attempts for row in node.rows(DeliveryRow)) == 3


def test_a_destination_that_refuses_for_good_parks_the_delivery_with_its_words(
    start: Start, storage_scp: ProgrammableStorage, phantom_abdomen_ct: list[Dataset]
) -> None:
    node = start(storage_scp.port)
    storage_scp.statuses.append(0xC000)
    node.work()

    uid = node.receive(phantom_abdomen_ct)

    study = node.wait_for(uid, StudyState.FAILED)
    assert "cannot understand (0xC000)" in study.reason
    assert sorted(row.state for row in node.rows(DeliveryRow)) == [DeliveryState.DELIVERED, DeliveryState.PARKED]


def test_a_delivery_outlives_the_worker_and_a_destination_that_is_down(
    start: Start, storage_scp: ProgrammableStorage, phantom_abdomen_ct: list[Dataset]
) -> None:
    node = start(storage_scp.port)
    storage_scp.stop()
    node.work()
    uid = node.receive(phantom_abdomen_ct)
    node.wait_for(uid, StudyState.DELIVERING)
    while not any(row.attempts for row in node.rows(DeliveryRow)):
        time.sleep(0.05)
    assert "cannot be reached" in node.rows(DeliveryRow)[0].message

    node.rest()
    storage_scp.start()
    node.work()

    node.wait_for(uid, StudyState.DELIVERED)
    assert len(storage_scp.received) == 2


def test_results_without_a_destination_are_kept_and_the_study_says_what_to_do(
    start: Start, phantom_abdomen_ct: list[Dataset]
) -> None:
    node = start(None)
    node.work()

    uid = node.receive(phantom_abdomen_ct)

    assert "receives_results" in node.wait_for(uid, StudyState.FAILED).reason
    assert len(node.rows(ResultRow)) == 2
    assert all((node.config.results_folder / row.path).is_file() for row in node.rows(ResultRow))


def test_an_urgent_study_overtakes_those_that_wait(
    start: Start, storage_scp: ProgrammableStorage, phantom_abdomen_ct: list[Dataset]
) -> None:
    node = start(storage_scp.port)
    go_on = threading.Event()
    node.work(StandInReader(lambda: go_on.wait(60)))  # type: ignore[arg-type, return-value]

    def receive(number: int, priority: str) -> str:
        uids = dict.fromkeys(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"), f"1.2.3.{number}")
        uid = node.receive([_with(phantom_abdomen_ct[0], RequestedProcedurePriority=priority, **uids)])
        node.wait_for(uid, StudyState.QUEUED, StudyState.ANALYSING)
        return uid

    under_way = receive(1, "ROUTINE")
    node.wait_for(under_way, StudyState.ANALYSING)
    waiting, urgent = receive(2, "ROUTINE"), receive(3, "STAT")
    go_on.set()
    node.wait_for(waiting, StudyState.DELIVERED)

    read = [row.analysis_id.split("-")[0] for row in node.rows(FindingRow)]
    assert read == [under_way, urgent, waiting]
