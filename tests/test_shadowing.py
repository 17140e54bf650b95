"""A version in shadow reads what the one in use has read; what it says is kept beside, and never sent."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from pydicom.dataset import Dataset

from dicom_node.database import now
from dicom_node.domain import Evaluation, StudyState, VersionState
from dicom_node.inference.models import ShadowReader
from dicom_node.tables import ModelInputRow, ModelVersionRow, ShadowFindingRow
from dicom_node.web.queries.models import ShadowComparison, shadow_comparison
from tests.stand_ins import StandInModels, StandInReader, crash
from tests.storage_scp import ProgrammableStorage
from tests.test_workflow import NodeUnderTest, start  # noqa: F401 - a fixture

Start = Callable[..., NodeUnderTest]


def _shadowed(node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch, reader: StandInReader) -> int:
    row = ModelVersionRow(
        model="stand_in",
        version="1.0+site.1",
        base_version="1.0",
        state=VersionState.TRAINED,
        data=[],
        requested_by="admin",
        requested_at=now(),
    )
    with node.database.session.begin() as session:
        session.add(row)
    shadow = ShadowReader(row.id, reader)  # type: ignore[arg-type]
    monkeypatch.setattr(StandInModels, "shadow", lambda _self, _name: shadow)
    return row.id


def test_what_it_says_is_kept_beside_what_was_said_and_not_sent(
    start: Start,  # noqa: F811
    storage_scp: ProgrammableStorage,
    phantom_abdomen_ct: list[Dataset],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = start(storage_scp.port)
    version_id = _shadowed(node, monkeypatch, StandInReader())
    node.work()

    uid = node.receive(phantom_abdomen_ct)

    node.wait_for(uid, StudyState.DELIVERED)
    deadline = time.monotonic() + 30
    while not (kept := node.rows(ShadowFindingRow)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [(row.version_id, row.probability, row.in_use) for row in kept] == [(version_id, 0.9, Evaluation.PRESENT)]
    assert sorted(received.Modality for received in storage_scp.received) == ["OT", "SR"]
    with node.database.reading() as session:
        assert shadow_comparison(session, version_id) == [ShadowComparison("tumour", 1, 1, 0, 0, 0.0)]


def test_one_that_fails_leaves_the_study_as_it_is(
    start: Start,  # noqa: F811
    storage_scp: ProgrammableStorage,
    phantom_abdomen_ct: list[Dataset],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = start(storage_scp.port)
    reader = StandInReader(before=crash)
    _shadowed(node, monkeypatch, reader)
    node.work()

    uid = node.receive(phantom_abdomen_ct)

    node.wait_for(uid, StudyState.DELIVERED)
    deadline = time.monotonic() + 30
    while not reader.reads:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert node.study(uid).state is StudyState.DELIVERED
    assert node.rows(ShadowFindingRow) == []


def test_what_a_model_was_given_is_kept_without_naming_the_patient(
    start: Start,  # noqa: F811
    storage_scp: ProgrammableStorage,
    phantom_abdomen_ct: list[Dataset],
) -> None:
    node = start(storage_scp.port)
    node.work()

    uid = node.receive(phantom_abdomen_ct)

    node.wait_for(uid, StudyState.DELIVERED)
    (row,) = node.rows(ModelInputRow)
    assert set(row.features) == {"age", "sex", "manufacturer", "brightness", "contrast", "dark", "bright"}
    assert 0 < row.features["brightness"] < 1
    assert str(phantom_abdomen_ct[0].PatientName) not in str(row.features)
