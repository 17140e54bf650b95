"""What is removed from the node's disk, when, and what stays."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydicom import Dataset

from dicom_node.config import Config
from dicom_node.database import now
from dicom_node.domain import Association, DeliveryState, ResultKind, StudyState
from dicom_node.receive.refusal import Refused
from dicom_node.retention import Retention
from dicom_node.stored_files import InFolder
from dicom_node.tables import AnalysisRow, DeliveryRow, EventRow, InstanceRow, RefusalRow, ResultRow, StudyRow
from tests.receiving_node import ReceivingNode, ct_image
from tests.stand_ins import folder_files

CALLER = Association("MODALITY", "DICOMNODE", "127.0.0.1")
LATER = timedelta(days=8)


class Node:
    """An archive with studies whose work is done, without a worker."""

    def __init__(self, receiving: ReceivingNode) -> None:
        self.receiving, self.database = receiving, receiving.database
        self.forgotten: list[datetime] = []
        peer = {"name": "pacs", "ae_title": "PACS", "host": "h", "port": 104, "receives_results": True}
        self.config = Config.model_validate(
            {
                "node": {"data_folder": receiving.config.node.data_folder},
                "receive": {"minimum_free_megabytes": 0, "maximum_disk_percent": 100},
                "peers": [peer, {**peer, "name": "committing", "storage_commitment": True}],
            }
        )
        self.retention = Retention(self.config, self.database, InFolder(), self._forget)

    def _forget(self, begun_before: datetime) -> int:
        self.forgotten.append(begun_before)
        return 0

    def receive(self, dataset: Dataset) -> None:
        path = self.config.incoming_folder / f"{dataset.SOPInstanceUID}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        self.receiving.archive.accept(path, CALLER)

    def end(self, study: str, destination: str = "pacs", state: DeliveryState = DeliveryState.DELIVERED) -> None:
        """Say that the study was analysed and its one result is on its way."""
        result = self.config.results_folder / study / f"{study}.9.dcm"
        result.parent.mkdir(parents=True)
        result.write_bytes(b"a report")
        name, at = f"{study}-0", now()
        with self.database.session.begin() as session:
            row = session.get_one(StudyRow, study)
            row.state, row.state_changed_at, row.latest_analysis_id = StudyState.DELIVERED, at, name
            session.add(
                AnalysisRow(
                    analysis_id=name,
                    study_instance_uid=study,
                    input_digest="0",
                    last_instance_id=1,
                    last_image_at=at,
                    state=StudyState.DELIVERED,
                    created_at=at,
                )
            )
            session.flush()
            session.add(
                ResultRow(
                    sop_instance_uid=f"{study}.9",
                    sop_class_uid="1.2",
                    analysis_id=name,
                    series_instance_uid=f"{study}.1",
                    model="m",
                    kind=ResultKind.STRUCTURED_REPORT,
                    path=f"{study}/{study}.9.dcm",
                )
            )
            session.flush()
            session.add(
                DeliveryRow(sop_instance_uid=f"{study}.9", analysis_id=name, destination=destination, state=state)
            )

    def held(self) -> set[str]:
        """The studies that have files; each instance row has its file and each file its row."""
        with self.database.reading() as session:
            paths = set(session.scalars(sa.select(InstanceRow.path)))
        files = folder_files(self.config.instances_folder)
        assert {str(path.relative_to(self.config.instances_folder)) for path in files} == paths
        results = {path.parent.name for path in folder_files(self.config.results_folder)}
        studies = {Path(path).parts[0] for path in paths}
        assert results <= studies
        return studies


@pytest.fixture
def node(start_receiving: Callable[..., ReceivingNode], tmp_path: Path) -> Iterator[Node]:
    return Node(start_receiving(tmp_path))


def test_a_study_goes_days_after_its_work_was_done_and_its_record_stays(node: Node) -> None:
    for study in ("1.2.3", "1.2.4"):
        node.receive(ct_image(study))
    node.end("1.2.3")

    node.retention.make_room(now() + timedelta(days=6))
    assert node.held() == {"1.2.3", "1.2.4"}
    node.retention.make_room(now() + LATER)

    assert node.held() == {"1.2.4"}, "the other study is still being received"
    with node.database.reading() as session:
        assert session.get_one(StudyRow, "1.2.3").removed_at is not None
        assert session.scalars(sa.select(ResultRow)).one()
        assert session.scalars(sa.select(DeliveryRow)).one()
        texts = session.scalars(sa.select(EventRow.text).where(EventRow.study_instance_uid == "1.2.3")).all()
    assert "Removed from the node's disk 7 days after its work was done: 1 images" in texts[-1]
    assert folder_files(node.config.removing_folder) == []


@pytest.mark.parametrize(
    ("destination", "state"),
    [("pacs", DeliveryState.RETRYING), ("pacs", DeliveryState.PENDING), ("committing", DeliveryState.DELIVERED)],
    ids=["undelivered", "not tried", "not committed"],
)
def test_a_study_with_work_left_never_goes(node: Node, destination: str, state: DeliveryState) -> None:
    node.receive(ct_image("1.2.3"))
    node.end("1.2.3", destination, state)

    node.retention.make_room(now() + timedelta(days=400))

    assert node.held() == {"1.2.3"}


def test_a_disk_that_fills_up_takes_the_oldest_first_until_there_is_room(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    for study in ("1.2.3", "1.2.4", "1.2.5"):
        node.receive(ct_image(study))
        node.end(study)
    whole = folder_files(node.config.instances_folder)

    def usage(_: object) -> object:
        gone = len(whole) - len(folder_files(node.config.instances_folder))
        return shutil._ntuple_diskusage(100 << 20, (95 - 10 * gone) << 20, (5 + 10 * gone) << 20)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    scarce = node.config.receive.model_copy(update={"minimum_free_megabytes": 10})
    Retention(node.config.model_copy(update={"receive": scarce}), node.database, InFolder(), lambda _: 0).make_room(
        now()
    )

    assert node.held() == {"1.2.4", "1.2.5"}


def test_a_study_that_comes_again_is_held_again(node: Node) -> None:
    image = ct_image("1.2.3")
    node.receive(image)
    node.end("1.2.3")
    node.retention.make_room(now() + LATER)

    node.receive(image)

    assert node.held() == {"1.2.3"}
    with node.database.reading() as session:
        study = session.get_one(StudyRow, "1.2.3")
    assert (study.removed_at, study.state) == (None, StudyState.RECEIVING)


def test_an_instance_whose_study_is_removed_at_the_same_moment_is_refused_rather_than_lost(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.receive(ct_image("1.2.3"))
    node.end("1.2.3")
    keep = node.receiving.store.keep

    def keep_and_lose(*arguments: object) -> object:
        kept = keep(*arguments)  # type: ignore[arg-type]
        node.retention.make_room(now() + LATER)
        return kept

    monkeypatch.setattr(node.receiving.store, "keep", keep_and_lose)

    with pytest.raises(Refused, match="send it again"):
        node.receive(ct_image("1.2.3"))

    assert node.held() == set()


@pytest.mark.parametrize("committed", [True, False], ids=["after the rows went", "before the rows went"])
def test_a_removal_that_was_cut_short_is_ended_at_the_next_start(node: Node, committed: bool) -> None:
    node.receive(ct_image("1.2.3"))
    node.end("1.2.3")
    for folder in (node.config.instances_folder, node.config.results_folder):
        target = node.config.removing_folder / folder.name / "1.2.3"
        target.parent.mkdir(parents=True)
        (folder / "1.2.3").rename(target)
    if committed:
        with node.database.session.begin() as session:
            session.execute(sa.delete(InstanceRow))
            session.get_one(StudyRow, "1.2.3").removed_at = now()

    node.retention.recover()

    assert node.held() == (set() if committed else {"1.2.3"})
    assert folder_files(node.config.removing_folder) == []


def test_old_refusals_are_forgotten(node: Node) -> None:
    for days in (40, 1):
        with node.database.session.begin() as session:
            session.add(
                RefusalRow(
                    at=now() - timedelta(days=days), calling_ae_title="A", address="a", status=None, reason=f"{days}"
                )
            )

    node.retention.make_room(now())

    with node.database.reading() as session:
        assert session.scalars(sa.select(RefusalRow.reason)).all() == ["1"]


@pytest.mark.parametrize(("study_days", "days"), [(7, 7), (0, 2)])
def test_workflows_are_forgotten_with_their_studies_but_not_before_their_names_are_out_of_use(
    node: Node, study_days: float, days: float
) -> None:
    config = node.config.model_copy(
        update={"retention": node.config.retention.model_copy(update={"study_days": study_days})}
    )
    at = now()

    Retention(config, node.database, InFolder(), node._forget).make_room(at)

    assert node.forgotten == [at - timedelta(days=days)]
