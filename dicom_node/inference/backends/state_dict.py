"""Weights on disk: a state dict of PyTorch by itself, or in a checkpoint."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

_CHECKPOINT_KEYS = ("model", "state_dict")
"""Where checkpoints of MONAI's handlers keep the weights, among the optimizer's state."""


class NoStateDict(Exception):
    """A file holds no state dict; the text names it."""


def read_state_dict(path: Path) -> Mapping[str, Any]:
    """Read the weights that another process left; nothing but tensors and plain values is unpickled.

    Raises:
        OSError: the file cannot be read.
        NoStateDict: it holds something else.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        raise NoStateDict(f"{path}: holds no PyTorch state dict: {error}") from error
    for key in _CHECKPOINT_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise NoStateDict(f"{path}: holds no PyTorch state dict but {type(content).__name__}.")
    return content
