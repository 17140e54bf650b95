"""Networks that share too little memory: which are closed, and that nobody notices but by the time."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from dicom_node.domain import FloatArray, ImagePlane, ImageStack
from dicom_node.inference.backends import torch_network
from dicom_node.inference.backends.choice import Backend
from dicom_node.inference.backends.falling_back import FallingBackNetwork
from dicom_node.inference.backends.residence import Occupant, Residence, ResidentNetwork, resident_bytes, to_close
from dicom_node.inference.bundle import Bundle
from dicom_node.inference.definition import WEIGHTS_FILE
from dicom_node.inference.models import Models
from tests.inference.bundles import TORCH, write_bundle

STACK = ImageStack(
    np.zeros((1, 32, 32), np.float32),
    (ImagePlane(sop_instance_uid="1", sop_class_uid="2", rows=32, columns=32),),
    hounsfield=True,
)


class Stub:
    """A network whose answer names it."""

    def __init__(self, place: str) -> None:
        self.place = place

    def logits(self, batch: FloatArray) -> FloatArray:
        return np.zeros((len(batch), 2), np.float32)

    def grad_cam(self, image: FloatArray, class_index: int) -> FloatArray:
        return self.logits(image[None])


@pytest.mark.parametrize(
    ("needed", "budget", "occupants", "closed"),
    [
        (40, 100, [Occupant(60, 1, False)], []),
        (50, 100, [Occupant(60, 1, False)], [0]),
        (50, 150, [Occupant(60, 9, False), Occupant(60, 2, False)], [1]),
        (50, 60, [Occupant(60, 9, False), Occupant(60, 2, False)], [1, 0]),
        (50, 150, [Occupant(60, 9, False), Occupant(60, 2, True)], [0]),
        (50, 60, [Occupant(60, 9, True), Occupant(60, 2, True)], []),
        (500, 100, [], []),
    ],
)
def test_the_longest_unused_give_way_as_far_as_needed_and_none_that_is_read_with(
    needed: int, budget: int, occupants: list[Occupant], closed: list[int]
) -> None:
    assert to_close(needed, budget, occupants) == closed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        write_bundle(tmp_path / "models" / name)
    return tmp_path / "models"


def _two_of_three(folder: Path) -> Models:
    models = Models(folder, TORCH, memory=2 * resident_bytes((folder / "a" / WEIGHTS_FILE).stat().st_size))
    models.load()
    return models


def _open(models: Models) -> set[str]:
    networks = {name: models.reader(name).bundle.network for name in ("a", "b", "c")}
    return {name for name, network in networks.items() if isinstance(network, ResidentNetwork) and network.inner}


def test_of_more_models_than_fit_those_used_last_stay_open_and_all_answer_as_ever(folder: Path) -> None:
    unbounded = Models(folder, TORCH)
    unbounded.load()
    models = _two_of_three(folder)
    assert (_open(unbounded), _open(models)) == ({"a", "b", "c"}, {"b", "c"})

    for name, expected in (("a", {"a", "c"}), ("c", {"a", "c"}), ("b", {"b", "c"})):
        read, reference = (each.reader(name).read(STACK, "1") for each in (models, unbounded))
        assert read.class_probabilities == reference.class_probabilities
        assert read.device == "PyTorch on the CPU"
        assert _open(models) == expected


def test_a_model_that_reads_stays_open_while_others_come_and_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = _two_of_three(folder)
    reads, goes_on = threading.Event(), threading.Event()
    network = models.reader("b").bundle.network
    assert isinstance(network, ResidentNetwork)
    assert network.inner is not None
    logits = network.inner.logits

    def slow(batch: FloatArray) -> FloatArray:
        reads.set()
        assert goes_on.wait(10)
        return logits(batch)

    monkeypatch.setattr(network.inner, "logits", slow)
    series = threading.Thread(target=lambda: models.reader("b").read(STACK, "1"))
    series.start()
    assert reads.wait(10)

    for name, expected in (("a", {"a", "b"}), ("c", {"b", "c"})):
        models.reader(name).read(STACK, "1")
        assert _open(models) == expected
    goes_on.set()
    series.join()
    for name in ("c", "a"):
        models.reader(name).read(STACK, "1")
    assert _open(models) == {"a", "c"}


def test_a_model_that_is_no_longer_used_by_anybody_takes_no_part_of_the_memory(folder: Path) -> None:
    residence = Residence(resident_bytes((folder / "a" / WEIGHTS_FILE).stat().st_size))
    replaced = Bundle.load(folder / "a", TORCH, residence=residence)
    replaced.network.logits(np.zeros((1, 1, 32, 32), np.float32))
    del replaced

    assert len(residence._networks) == 0


def test_the_longest_unused_network_on_a_gpu_gives_way_there_and_one_on_the_cpu_does_not() -> None:
    residence = Residence()

    def on_gpu(name: str) -> ResidentNetwork:
        def opener() -> FallingBackNetwork:
            return FallingBackNetwork(name, lambda: Stub("GPU"), lambda: Stub("CPU"), lambda _: None)

        return residence.resident(name, 1, opener)

    first, second, third = on_gpu("first"), on_gpu("second"), on_gpu("third")
    cpu = residence.resident("cpu", 1, lambda: Stub("CPU"))
    image = np.zeros((1, 1, 8, 8), np.float32)
    for network in (cpu, first, second, third, first):
        network.logits(image)

    with third.reading():
        assert residence.give_way()
        assert [network.inner is not None for network in (first, second, third, cpu)] == [True, False, True, True]
        assert residence.give_way()
        assert not residence.give_way()
    assert [network.inner is not None for network in (first, second, third, cpu)] == [False, False, True, True]


def test_a_full_gpu_is_tried_again_after_another_network_gave_way_and_then_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, leave = [8 << 30, 1 << 20], [True, False]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch_network, "free_gpu_bytes", lambda: [free[-1]])
    monkeypatch.setattr(torch_network, "TorchNetwork", lambda _, device, *layout: Stub(str(device)))

    def give_way() -> bool:
        if leave[0]:
            free.pop()
        return leave.pop(0)

    assert Bundle.load(folder / "a", Backend(give_way=give_way)).network.place == "cuda:0"
    free.append(1 << 20)
    assert "ran out of memory" in Bundle.load(folder / "a", Backend(give_way=give_way)).network.place
