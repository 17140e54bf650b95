"""A GPU that is full or lost: decided and survived without one, by networks that fail as PyTorch does there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dicom_node.domain import FloatArray
from dicom_node.inference.backends.falling_back import FallingBackNetwork
from dicom_node.inference.backends.placement import choose_gpu, needed_bytes
from dicom_node.inference.backends.torch_network import gpu_fault

GIB = 1 << 30
IMAGES = np.zeros((1, 3, 8, 8), np.float32)


class Stub:
    """A network whose answer names it, or that fails."""

    def __init__(self, place: str, answer: float, error: Exception | None = None) -> None:
        self.place, self._answer, self.error = place, answer, error

    def logits(self, batch: FloatArray) -> FloatArray:
        if self.error is not None:
            raise self.error
        return np.full((len(batch), 2), self._answer, np.float32)

    def grad_cam(self, image: FloatArray, class_index: int) -> FloatArray:
        return self.logits(image[None])


@pytest.mark.parametrize(
    ("free", "gpu"),
    [((), None), ((GIB,), None), ((3 * GIB, 20 * GIB), 1), ((8 * GIB, 7 * GIB), 0)],
)
def test_a_network_goes_to_the_gpu_with_most_room_or_to_none(free: tuple[int, ...], gpu: int | None) -> None:
    assert choose_gpu(needed_bytes(100 << 20), free) == gpu


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory."), "the GPU ran out of memory"),
        (RuntimeError("CUDA error: unspecified launch failure"), "the GPU failed"),
    ],
)
def test_a_gpu_that_fails_while_it_reads_gives_way_to_the_cpu_which_answers_the_same_question(
    error: Exception, words: str
) -> None:
    gpu = Stub("PyTorch on NVIDIA", 1.0)
    network = FallingBackNetwork("lung_ct", lambda: gpu, lambda: Stub("PyTorch on the CPU", 2.0), gpu_fault)
    assert (network.logits(IMAGES)[0, 0], network.place, network.trouble) == (1.0, "PyTorch on NVIDIA", "")

    gpu.error = error

    assert network.logits(IMAGES)[0, 0] == 2.0
    assert network.grad_cam(IMAGES[0], 0)[0, 0] == 2.0
    assert words in network.trouble
    assert network.place == f"PyTorch on the CPU ({network.trouble})"


def test_a_network_that_does_not_fit_the_gpu_at_start_begins_on_the_cpu() -> None:
    def full() -> Stub:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    network = FallingBackNetwork("lung_ct", full, lambda: Stub("PyTorch on the CPU", 2.0), gpu_fault)

    assert network.logits(IMAGES)[0, 0] == 2.0
    assert "out of memory" in network.place


def test_what_is_not_the_devices_fault_is_no_reason_to_move() -> None:
    network = FallingBackNetwork(
        "lung_ct", lambda: Stub("GPU", 1.0, ValueError("a bug")), lambda: Stub("CPU", 2.0), gpu_fault
    )

    with pytest.raises(ValueError, match="a bug"):
        network.logits(IMAGES)
    assert network.trouble == ""


def test_a_fault_of_the_last_resort_is_raised() -> None:
    def fail() -> Stub:
        return Stub("CPU", 2.0, RuntimeError("CUDA error: again"))

    network = FallingBackNetwork("lung_ct", fail, fail, gpu_fault)

    with pytest.raises(RuntimeError, match="again"):
        network.logits(IMAGES)
