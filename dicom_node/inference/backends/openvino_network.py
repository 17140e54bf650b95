"""A bundle's network in OpenVINO on the CPU."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dicom_node.domain import FloatArray

# OpenVINO's converter reports its use to its makers unless a file in the home folder forbids it. What this import
# finds missing is replaced by a stand-in that sends nothing.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as ov  # noqa: E402

_PRECISION: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
"""OpenVINO would take bfloat16 where the CPU has it, which moves probabilities by more than a percent."""


@dataclass(frozen=True, slots=True, eq=False)
class OpenVinoModels:
    """What an :class:`OpenVinoNetwork` is made of.

    ``logits`` leads from "image" (batch, C, h, w) to the logits (batch, classes), ``grad_cam`` from "image"
    (1, C, h, w) and "chosen" (1, classes) to the map (1, rows, columns); None where the bundle has no target layer.
    """

    logits: ov.Model
    grad_cam: ov.Model | None

    @classmethod
    def read(cls, logits: Path, grad_cam: Path | None) -> OpenVinoModels:
        """Read them from ONNX files, or from OpenVINO's own.

        Raises:
            RuntimeError: a file is missing or neither.
        """
        core = ov.Core()
        return cls(core.read_model(logits), None if grad_cam is None else core.read_model(grad_cam))


class OpenVinoNetwork:
    """Runs in OpenVINO, in single precision; fits :class:`Network`.

    A single image gets all cores. Of a batch, each image is a request of its own, as many at a time as there are
    streams: that is faster than one large tensor.
    """

    place = "OpenVINO on the CPU"

    def __init__(self, models: OpenVinoModels) -> None:
        core = ov.Core()
        self._one = core.compile_model(models.logits, "CPU", {**_PRECISION, "PERFORMANCE_HINT": "LATENCY"})
        self._many = ov.AsyncInferQueue(
            core.compile_model(models.logits, "CPU", {**_PRECISION, "PERFORMANCE_HINT": "THROUGHPUT"})
        )
        self._many.set_callback(_keep_row)
        self._grad_cam = None
        if models.grad_cam is not None:
            self._classes = models.grad_cam.inputs[1].partial_shape[1].get_length()
            self._grad_cam = core.compile_model(models.grad_cam, "CPU", {**_PRECISION, "PERFORMANCE_HINT": "LATENCY"})

    def logits(self, batch: FloatArray) -> FloatArray:
        """Return the logits (N, classes) of prepared images (N, C, h, w)."""
        if len(batch) == 1:
            return np.array(self._one(batch)[0])
        rows: list[FloatArray] = [np.empty(0, dtype=np.float32)] * len(batch)
        for index in range(len(batch)):
            self._many.start_async(batch[index : index + 1], (rows, index))
        self._many.wait_all()
        return np.concatenate(rows)

    def grad_cam(self, image: FloatArray, class_index: int) -> FloatArray:
        """Return where on a prepared image (C, h, w) the class is seen."""
        if self._grad_cam is None:
            raise ValueError("the manifest names no target layer")
        chosen = np.zeros((1, self._classes), dtype=np.float32)
        chosen[0, class_index] = 1
        return np.array(self._grad_cam((image[None], chosen))[0][0])


def _keep_row(request: Any, place: tuple[list[FloatArray], int]) -> None:
    rows, index = place
    rows[index] = np.array(request.get_output_tensor(0).data)
