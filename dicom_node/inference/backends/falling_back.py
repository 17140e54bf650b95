"""A network that goes on elsewhere when the GPU under it fails, and tells that it did."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from dicom_node.domain import FloatArray
from dicom_node.inference.backends.network import Network

log = logging.getLogger(__name__)

R = TypeVar("R")


class FallingBackNetwork:
    """Runs ``preferred`` until that fails for a reason of its device, and ``fallback`` from then on.

    ``device_fault`` says in words why an error is of the device, None of any other error, which is raised. The way back
    is a restart of the worker: what ran out of memory once would again. Fits :class:`Network`.
    """

    def __init__(
        self,
        name: str,
        preferred: Callable[[], Network],
        fallback: Callable[[], Network],
        device_fault: Callable[[Exception], str | None],
    ) -> None:
        self._name = name
        self._fallback: Callable[[], Network] | None = fallback
        self._device_fault = device_fault
        self._network: Network | None = None
        self.trouble = ""
        self._network = self._attempt(preferred)

    @property
    def place(self) -> str:
        """Where it runs, and why there."""
        return self._running.place + (f" ({self.trouble})" if self.trouble else "")

    def logits(self, batch: FloatArray) -> FloatArray:
        """Return the logits (N, classes) of prepared images (N, C, h, w)."""
        return self._attempt(lambda: self._running.logits(batch))

    def grad_cam(self, image: FloatArray, class_index: int) -> FloatArray:
        """Return where on a prepared image (C, h, w) the class is seen."""
        return self._attempt(lambda: self._running.grad_cam(image, class_index))

    @property
    def _running(self) -> Network:
        if self._network is None:
            raise RuntimeError("no network is open")
        return self._network

    def _attempt(self, use: Callable[[], R]) -> R:
        try:
            return use()
        except Exception as error:
            fault = self._device_fault(error) if self._fallback is not None else None
            if fault is None or self._fallback is None:
                raise
            log.error("%s: %s; it goes on without it", self._name, fault)
            fallback, self._fallback, self.trouble = self._fallback, None, fault
        # Outside the handler, whose traceback holds on to the failed network's memory.
        opening = self._network is None
        self._network = fallback()
        return self._network if opening else use()  # type: ignore[return-value]
