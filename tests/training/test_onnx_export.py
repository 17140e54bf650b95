from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.training.images import write_classes
from training import onnx_export
from training.onnx_export import ONNX_FILE, OPSET, TOLERANCE, ParityError, export_onnx


def test_the_exported_network_says_the_same(bundle: Path, tmp_path: Path) -> None:
    write_classes(tmp_path / "data", 3)

    exported = export_onnx(bundle, tmp_path / "data")

    assert exported.greatest_difference <= TOLERANCE
    assert exported.images > 6
    assert [opset.version for opset in onnx.load(exported.path).opset_import if not opset.domain] == [OPSET]
    session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    for batch in (1, 5):
        (logits,) = session.run(["logits"], {"image": np.zeros((batch, 1, 32, 32), dtype=np.float32)})
        assert np.asarray(logits).shape == (batch, 2)


def test_a_network_that_says_something_else_is_not_written(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "_greatest_difference", lambda *_: float("nan"))

    with pytest.raises(ParityError):
        export_onnx(bundle)
    assert not (bundle / ONNX_FILE).exists()
    assert [path.name for path in (bundle / "models").iterdir()] == ["model.pt"]
