"""On which GPU a network goes: decided by the memory that other networks and other processes have left free."""

from __future__ import annotations

from collections.abc import Sequence

_ACTIVATIONS = 4
_LEAST_BYTES = 1 << 30
"""CUDA's context and libraries take several hundred megabytes before the first image."""


def needed_bytes(weights_bytes: int) -> int:
    """What a network may take on a GPU: its weights, and several times as much for a batch on its way through it."""
    return (1 + _ACTIVATIONS) * weights_bytes + _LEAST_BYTES


def choose_gpu(needed: int, free: Sequence[int]) -> int | None:
    """The number of the GPU with the most free memory, by ``free`` (bytes, by GPU); None where it would not fit."""
    if not free:
        return None
    most = max(range(len(free)), key=lambda gpu: free[gpu])
    return most if free[most] >= needed else None
