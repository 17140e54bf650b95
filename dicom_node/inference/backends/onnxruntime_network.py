"""A bundle's network, exported to ONNX, in ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from dicom_node.domain import FloatArray
from dicom_node.inference.backends.exported import Exported


class OnnxRuntimeNetwork:
    """Runs in ONNX Runtime, in single precision; fits :class:`Network`."""

    place = "ONNX Runtime on the CPU"

    def __init__(self, exported: Exported) -> None:
        self._logits = _session(exported.logits)
        self._grad_cam = None if exported.grad_cam is None else _session(exported.grad_cam)

    def logits(self, batch: FloatArray) -> FloatArray:
        """Return the logits (N, classes) of prepared images (N, C, h, w)."""
        (logits,) = self._logits.run(["logits"], {"image": batch})
        return np.asarray(logits, dtype=np.float32)

    def grad_cam(self, image: FloatArray, class_index: int) -> FloatArray:
        """Return where on a prepared image (C, h, w) the class is seen."""
        if self._grad_cam is None:
            raise ValueError("the manifest names no target layer")
        classes = next(one.shape[1] for one in self._grad_cam.get_inputs() if one.name == "chosen")
        chosen = np.zeros((1, classes), dtype=np.float32)
        chosen[0, class_index] = 1
        (said,) = self._grad_cam.run(["map"], {"image": image[None], "chosen": chosen})
        return np.asarray(said[0], dtype=np.float32)


def _session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
