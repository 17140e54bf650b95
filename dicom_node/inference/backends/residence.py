"""Which networks are in memory: each is opened when it is used, and closed again where others need the room."""

from __future__ import annotations

import itertools
import logging
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from dicom_node.domain import FloatArray
from dicom_node.inference.backends.falling_back import FallingBackNetwork
from dicom_node.inference.backends.network import Network

log = logging.getLogger(__name__)

_COPIES = 10
"""Of the weights' file, which is in half precision: OpenVINO, which takes most, compiles a network three times in
single precision. Measured: 53 to 75 MB for the delivered networks' 5.6 to 6.9 MB; PyTorch takes less."""


@dataclass(frozen=True, slots=True)
class Occupant:
    """An open network: what it takes, when it was used last (a count), and whether it is being read with."""

    size: int
    used: int
    reading: bool


def resident_bytes(weights_bytes: int) -> int:
    """What a network takes of the memory, at most, by the size of its weights' file."""
    return _COPIES * weights_bytes


def to_close(needed: int, budget: int, occupants: Sequence[Occupant]) -> list[int]:
    """Which networks to close, by place in ``occupants``, so that another of ``needed`` bytes fits into ``budget``.

    The longest unused go first, and no more than need be. Those that are being read with stay, even where the budget is
    then exceeded: a study is worth more than a bound on memory.
    """
    excess = sum(occupant.size for occupant in occupants) + needed - budget
    chosen = []
    for index in sorted(range(len(occupants)), key=lambda index: occupants[index].used):
        if excess <= 0:
            break
        if not occupants[index].reading:
            chosen.append(index)
            excess -= occupants[index].size
    return chosen


class Residence:
    """Owns which networks of a process are open, within ``budget`` bytes of the machine's memory; None: all stay.

    Networks on a GPU do not count there. What they may take is what is free on the GPU, and where that is too little,
    ``give_way`` closes the one there that has been unused for longest.
    """

    def __init__(self, budget: int | None = None) -> None:
        self._budget = budget
        self._networks: weakref.WeakSet[ResidentNetwork] = weakref.WeakSet()
        self._count = itertools.count(1)
        self._lock = threading.RLock()

    def resident(self, name: str, weights_bytes: int, opener: Callable[[], Network]) -> ResidentNetwork:
        """A network that ``opener`` opens at its first use."""
        network = ResidentNetwork(self, name, resident_bytes(weights_bytes), opener)
        with self._lock:
            self._networks.add(network)
        return network

    def give_way(self) -> bool:
        """Close the network on a GPU that has been unused for longest; false where there is none to close."""
        with self._lock:
            idle = [network for network in self._networks if network.is_on_gpu and not network.readers]
            if not idle:
                return False
            min(idle, key=lambda network: network.used).close()
            return True

    def enter(self, network: ResidentNetwork) -> Network:
        """Begin to use a network; it stays open until as many have left as entered.

        Raises:
            BundleError: it cannot be opened.
        """
        # Whoever needs another network waits while one is opened: at most the seconds that this takes.
        with self._lock:
            network.used = next(self._count)
            network.readers += 1
            try:
                return network.inner if network.inner is not None else self._open(network)
            except BaseException:
                network.readers -= 1
                raise

    def leave(self, network: ResidentNetwork) -> None:
        """End to use it."""
        with self._lock:
            network.readers -= 1

    def _open(self, network: ResidentNetwork) -> Network:
        if self._budget is not None:
            others = [other for other in self._networks if other.inner is not None and not other.is_on_gpu]
            occupants = [Occupant(other.size, other.used, other.readers > 0) for other in others]
            for index in to_close(network.size, self._budget, occupants):
                others[index].close()
        network.inner = network.opener()
        return network.inner


class ResidentNetwork:
    """A network that is in memory while it is used, and after that as long as no other needs the room.

    Fits :class:`Network`. Whoever asks it several things in a row does so within ``reading``.
    """

    def __init__(self, residence: Residence, name: str, size: int, opener: Callable[[], Network]) -> None:
        self.name, self.size, self.opener = name, size, opener
        self.inner: Network | None = None
        self.used = self.readers = 0
        self._residence = residence
        self._last_place = "not opened yet"

    @contextmanager
    def reading(self) -> Iterator[Network]:
        """Keep it open; opening it first takes a second or more.

        Raises:
            BundleError: it cannot be opened.
        """
        network = self._residence.enter(self)
        try:
            yield network
        finally:
            self._residence.leave(self)

    def close(self) -> None:
        """Leave the memory."""
        self._last_place, self.inner = self.place, None
        log.info("%s makes room for another model; it is opened again when it is needed", self.name)

    @property
    def place(self) -> str:
        """Where it runs, or ran when it was open."""
        return self._last_place if self.inner is None else self.inner.place

    @property
    def trouble(self) -> str:
        """Why it does not run where it should."""
        return self.inner.trouble if isinstance(self.inner, FallingBackNetwork) else ""

    @property
    def is_on_gpu(self) -> bool:
        """Whether it takes memory of a GPU."""
        return isinstance(self.inner, FallingBackNetwork) and not self.inner.trouble

    def logits(self, batch: FloatArray) -> FloatArray:
        """Return the logits (N, classes) of prepared images (N, C, h, w)."""
        with self.reading() as network:
            return network.logits(batch)

    def grad_cam(self, image: FloatArray, class_index: int) -> FloatArray:
        """Return where on a prepared image (C, h, w) the class is seen."""
        with self.reading() as network:
            return network.grad_cam(image, class_index)


def in_use(network: Network) -> AbstractContextManager[Network]:
    """Keep a network open for several questions, if it is one that may be closed."""
    return network.reading() if isinstance(network, ResidentNetwork) else nullcontext(network)
