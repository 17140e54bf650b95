"""Every backend says the same of an image; which one runs is what is configured, installed and able."""

import importlib.util
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dicom_node.config import Config, ConfigurationError, load_config
from dicom_node.domain import Gpu, ImagePlane, ImageStack
from dicom_node.inference.backends import choice
from dicom_node.inference.backends.choice import Backend
from dicom_node.inference.bundle import Bundle
from dicom_node.inference.definition import BundleError
from dicom_node.inference.reader import ModelReader
from tests.inference.bundles import INFERENCE, TORCH, write_bundle

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes packages look as if they were not installed."""

    def hide(*packages: str) -> None:
        def find(name: str, package: str | None = None) -> Any:
            return None if name in packages else importlib.util.find_spec(name, package)

        monkeypatch.setattr(choice, "find_spec", find)

    return hide


def _stack(count: int) -> ImageStack:
    random = np.random.default_rng(5)
    pixels = (random.random((count, 48, 56), dtype=np.float32) - 0.3) * 600
    planes = tuple(
        ImagePlane("1.2", "1.2", 48, 56, None, (-50.0, -50.0, 3.0 * z), AXIAL, (2.0, 2.0)) for z in range(count)
    )
    return ImageStack(pixels, planes, hounsfield=True)


@pytest.mark.parametrize(("name", "place"), [("openvino", "OpenVINO"), ("onnxruntime", "ONNX Runtime")])
def test_a_series_is_read_alike_on_every_backend(exported: Path, name: Any, place: str) -> None:
    stack = _stack(37)

    expected = ModelReader(Bundle.load(exported, TORCH)).read(stack, "1.2.3")
    found = ModelReader(Bundle.load(exported, Backend(name))).read(stack, "1.2.3")

    assert found.device == f"{place} on the CPU"
    assert expected.device == "PyTorch on the CPU"
    assert found.model == expected.model
    (one,), (other,) = expected.findings, found.findings
    assert other.image_probabilities == pytest.approx(one.image_probabilities, abs=1e-5)
    assert (other.key_index, other.evaluation) == (one.key_index, one.evaluation)
    assert any(key.heat_map is not None for key in one.key_images)
    for key, same in zip(one.key_images, other.key_images, strict=True):
        assert (key.heat_map is None) == (same.heat_map is None)
        if key.heat_map is not None and same.heat_map is not None:
            assert same.heat_map == pytest.approx(key.heat_map, abs=1e-3)


def test_openvino_converts_a_bundle_that_was_never_exported(tiny_folder: Path) -> None:
    stack = _stack(3)
    bundle = Bundle.load(tiny_folder, Backend("openvino"))
    expected = ModelReader(Bundle.load(tiny_folder, TORCH)).class_probabilities(stack)
    assert bundle.network.place == "OpenVINO on the CPU"
    assert sys.modules["openvino_telemetry"] is None, "the converter could report its use to its makers"
    assert ModelReader(bundle).class_probabilities(stack) == pytest.approx(expected, abs=1e-5)


def test_a_converted_network_is_kept_and_only_the_newest(
    tmp_path: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, store = write_bundle(tmp_path / "tiny"), tmp_path / "networks"
    backend = Backend("openvino", store=store)
    stack = _stack(2)
    expected = ModelReader(Bundle.load(folder, backend)).class_probabilities(stack)
    (kept,) = store.glob("tiny-*")

    from dicom_node.inference.backends import openvino_conversion

    def refuse(_: Any) -> None:
        raise AssertionError("converted again")

    with monkeypatch.context() as patched:
        patched.setattr(openvino_conversion, "convert", refuse)
        assert ModelReader(Bundle.load(folder, backend)).class_probabilities(stack) == pytest.approx(expected)

    (kept / "logits.bin").write_bytes(b"cut short")
    assert ModelReader(Bundle.load(folder, backend)).class_probabilities(stack) == pytest.approx(expected)
    state = torch.load(folder / "models/model.pt")
    torch.save(
        {name: value * 1.5 if name == "fc.weight" else value for name, value in state.items()},
        folder / "models/model.pt",
    )
    assert ModelReader(Bundle.load(folder, backend)).class_probabilities(stack) != pytest.approx(expected, abs=1e-6)
    (newest,) = store.glob("tiny-*")
    assert newest != kept


def test_a_store_that_cannot_be_written_is_done_without(tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    bundle = Bundle.load(tiny_folder, Backend("openvino", store=tmp_path / "file"))
    assert sum(ModelReader(bundle).class_probabilities(_stack(1)).values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("missing", "place"),
    [
        ((), "OpenVINO on the CPU"),
        (("openvino",), "ONNX Runtime on the CPU"),
        (("openvino", "onnxruntime"), "PyTorch on the CPU"),
        (("torch", "openvino"), "ONNX Runtime on the CPU"),
    ],
)
def test_the_fastest_that_is_installed_runs(
    exported: Path, without: Callable[..., None], missing: tuple[str, ...], place: str
) -> None:
    without(*missing)
    assert Bundle.load(exported, Backend(device="cpu")).network.place == place


def test_a_network_that_openvino_cannot_run_is_run_by_pytorch(tmp_path: Path, without: Callable[..., None]) -> None:
    inference = {**INFERENCE, "preprocessing": {"_target_": "Compose", "transforms": []}}
    folder = write_bundle(tmp_path / "any_size", inference=inference)
    assert Bundle.load(folder, Backend(device="cpu")).network.place == "PyTorch on the CPU"
    with pytest.raises(BundleError, match=r"any_size: .*size"):
        Bundle.load(folder, Backend("openvino"))


def test_files_of_other_weights_are_not_run(exported: Path, tmp_path: Path, without: Callable[..., None]) -> None:
    folder = shutil.copytree(exported, tmp_path / "tiny")
    weights = torch.load(folder / "models/model.pt")
    torch.save({name: value * 2 for name, value in weights.items()}, folder / "models/model.pt")
    without("torch")
    with pytest.raises(BundleError, match="python -m training export --model tiny"):
        Bundle.load(folder, Backend())


def test_what_is_configured_but_not_installed_is_named(tiny_folder: Path, without: Callable[..., None]) -> None:
    without("openvino")
    with pytest.raises(BundleError, match="OpenVINO is not installed"):
        Bundle.load(tiny_folder, Backend("openvino"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_that_is_not_there_is_named(tiny_folder: Path) -> None:
    with pytest.raises(BundleError, match="no CUDA device"):
        Bundle.load(tiny_folder, Backend(device="cuda"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_cuda_runs_what_the_cpu_runs(tiny_folder: Path) -> None:
    stack = _stack(37)
    expected = ModelReader(Bundle.load(tiny_folder, TORCH)).read(stack, "1.2.3").findings[0]
    bundle = Bundle.load(tiny_folder, Backend())
    found = ModelReader(bundle).read(stack, "1.2.3").findings[0]
    assert torch.cuda.get_device_name() in bundle.network.place
    assert found.image_probabilities == pytest.approx(expected.image_probabilities, abs=1e-4)


def test_the_configuration_chooses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DICOM_NODE_WORKER__BACKEND")
    config = Config(node={"data_folder": tmp_path}, worker={"backend": "onnxruntime"})  # type: ignore[arg-type]
    assert Backend.configured(config) == Backend("onnxruntime", "auto", tmp_path / "networks")


def test_a_cpu_backend_on_cuda_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DICOM_NODE_WORKER__BACKEND")
    path = tmp_path / "node.yaml"
    path.write_text("worker: {backend: openvino, device: cuda}")
    with pytest.raises(ConfigurationError, match="openvino runs on the CPU"):
        load_config(path)


def test_gpus_are_told_with_their_memory_and_one_that_failed_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def memory(number: int) -> tuple[int, int]:
        if number == 1:
            raise RuntimeError("CUDA error: unspecified launch failure")
        return 20 << 30, 80 << 30

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"GPU {number}")
    monkeypatch.setattr(torch.cuda, "mem_get_info", memory)

    assert Backend().gpus() == [Gpu("GPU 0", 60 << 10, 80 << 10), Gpu("GPU 1", None, None)]
    assert Backend(device="cpu").gpus() == Backend("openvino").gpus() == []


def test_workers_that_start_together_convert_a_network_once_for_all(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dicom_node.inference.backends import openvino_conversion

    convert, conversions = openvino_conversion.convert, []
    monkeypatch.setattr(openvino_conversion, "convert", lambda of: conversions.append(of.name) or convert(of))
    backend = Backend("openvino", store=tmp_path / "networks")

    with ThreadPoolExecutor() as workers:
        loaded = list(workers.map(lambda _: Bundle.load(tiny_folder, backend), range(3)))

    assert len(conversions) == 1
    assert {bundle.network.place for bundle in loaded} == {"OpenVINO on the CPU"}
