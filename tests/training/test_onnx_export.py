import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from dicom_node.inference.backends.exported import EXPORT_FILE, GRAD_CAM_FILE, ONNX_FILE, find_exported
from dicom_node.inference.backends.parity import HEAT_MAP_TOLERANCE, TOLERANCE
from dicom_node.inference.definition import BundleDefinition, weights_digest
from tests.inference.bundles import INFERENCE, write_bundle
from tests.training.images import write_classes
from training import onnx_export
from training.onnx_export import OPSET, ParityError, export_onnx


def test_the_exported_network_says_the_same(bundle: Path, tmp_path: Path) -> None:
    write_classes(tmp_path / "data", 3)

    exported = export_onnx(bundle, tmp_path / "data")

    assert exported.greatest_difference <= TOLERANCE
    assert exported.heat_map_difference <= HEAT_MAP_TOLERANCE
    assert exported.images > 6
    assert [opset.version for opset in onnx.load(exported.path).opset_import if not opset.domain] == [OPSET]
    session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    for batch in (1, 5):
        (logits,) = session.run(["logits"], {"image": np.zeros((batch, 1, 32, 32), dtype=np.float32)})
        assert np.asarray(logits).shape == (batch, 2)


@pytest.mark.parametrize("changed", [None, ONNX_FILE, GRAD_CAM_FILE, EXPORT_FILE, Path("models/model.pt")], ids=str)
def test_files_are_taken_only_whole_and_of_the_same_weights(bundle: Path, changed: Path | None) -> None:
    export_onnx(bundle)
    if changed is not None:
        content = (bundle / changed).read_bytes()
        (bundle / changed).write_bytes(content[: len(content) // 2])
    found = find_exported(BundleDefinition.load(bundle), weights_digest(bundle / "models/model.pt"))
    assert (found is None) == (changed is not None)


def test_heat_maps_of_another_layer_are_not_taken(bundle: Path) -> None:
    export_onnx(bundle)
    said = json.loads((bundle / EXPORT_FILE).read_text())
    (bundle / EXPORT_FILE).write_text(json.dumps(said | {"target_layer": "layer1"}))
    assert find_exported(BundleDefinition.load(bundle), said["weights_digest"]) is None


def test_a_network_that_says_something_else_is_not_written(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "greatest_difference", lambda *_: float("nan"))

    with pytest.raises(ParityError):
        export_onnx(bundle)
    assert [path.name for path in (bundle / "models").iterdir()] == ["model.pt"]


def test_a_network_for_images_of_any_size_is_not_exported(tmp_path: Path) -> None:
    inference: dict[str, Any] = {**INFERENCE, "preprocessing": {"_target_": "Compose", "transforms": []}}
    with pytest.raises(ParityError, match="one size"):
        export_onnx(write_bundle(tmp_path / "any_size", inference=inference))
