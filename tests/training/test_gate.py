"""Fitting an input gate on labelled images, and measuring it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node.inference.gate import Descriptors, InputGate
from tests.inference.bundles import MANIFEST, write_bundle
from tests.training.conftest import TRAIN_JSON
from tests.training.images import write_classes, write_image
from training import foreign_images
from training.gate import GateExamples, fit_gate, gate_examples
from training.gate_report import measure_gate
from training.model_card import GATE_REPORT_FILE


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A radiograph bundle, its data, and folders of images from elsewhere."""
    folder = tmp_path_factory.mktemp("gate")
    bundle = write_bundle(folder / "tiny", manifest={**MANIFEST, "kind": "radiograph", "input": {"channels": 1}})
    (bundle / "configs/train.json").write_text(TRAIN_JSON)
    write_classes(folder / "data/train", 30)
    write_classes(folder / "data/test", 10, seed=1)
    write_image(folder / "same/same.png", 77)
    write_image(folder / "dots/one.png", 78)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _few_of_each_kind() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(foreign_images, "_COUNT", 8)
        patch.setattr(foreign_images, "_ALTERED", 8)
        yield


@pytest.fixture(scope="module")
def examples(site: Path) -> GateExamples:
    """Fitting to a few kinds is quick."""
    found = gate_examples(site / "tiny", site / "data", {"dots": site / "dots"})
    kept = ("one grey", "page of text", "white noise", "dots")
    return replace(found, foreign={kind: found.foreign[kind] for kind in kept})


def test_right_images_are_let_by_and_others_are_not(site: Path, examples: GateExamples) -> None:
    fit_gate(site / "tiny", replace(examples, foreign={k: v for k, v in examples.foreign.items() if k != "dots"}))
    report = measure_gate(site / "tiny", site / "data", examples, {"the same": site / "same"}, {})

    assert report["false_refusals"]["images"] == 20
    assert report["false_refusals"]["value"] <= 0.1
    assert report["wrong_kinds"]["one grey"]["value"] == 1.0
    assert report["wrong_kinds"]["page of text"]["value"] >= 0.9
    assert report["wrong_kinds"]["the same"]["refused"] == 0
    assert json.loads((site / "tiny" / GATE_REPORT_FILE).read_text()) == report


def test_of_right_images_hardly_any_is_refused_even_when_perturbed(examples: GateExamples) -> None:
    gate = examples.fit()

    assert max(_refused(gate, some) for some in (examples.plain, *examples.perturbed)) <= 0.05
    assert _refused(gate, examples.foreign["page of text"]) == 1.0


def test_a_kind_can_be_left_out_of_fitting(examples: GateExamples) -> None:
    without = examples.fit(without="dots")
    never = replace(examples, foreign={k: v for k, v in examples.foreign.items() if k != "dots"}).fit()

    assert without.weights == pytest.approx(never.weights)
    assert without.bias == pytest.approx(never.bias)
    assert without.bias != pytest.approx(examples.fit().bias)


def _refused(gate: InputGate, described: Descriptors) -> float:
    return float((gate.strangeness_of(described) > 0).mean())
