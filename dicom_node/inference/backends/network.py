"""What every backend offers, whatever runs the network."""

from __future__ import annotations

from typing import Protocol

from dicom_node.domain import FloatArray


class Network(Protocol):
    """A bundle's network with its weights, ready to run; not to be shared between threads."""

    @property
    def place(self) -> str:
        """What runs it and where, in words for the status page, such as ``OpenVINO on the CPU``."""

    def logits(self, batch: FloatArray) -> FloatArray:
        """Return the logits (N, classes), float32, of prepared images (N, C, h, w)."""

    def grad_cam(self, image: FloatArray, class_index: int) -> FloatArray:
        """Return where on one prepared image (C, h, w) the class is seen, float32 (rows, columns), not normalised.

        Grad-CAM (Selvaraju et al. 2017) at the manifest's ``saliency.target_layer``, on that layer's own grid: the
        activations, weighted by the mean of the class logit's gradient, summed over the channels, negative sums as 0.
        """
