"""Converted networks, kept in a folder so that only the first start pays for the conversion."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

import openvino as ov

from dicom_node.inference.backends.exported import target_layer
from dicom_node.inference.backends.openvino_network import OpenVinoModels
from dicom_node.inference.definition import BundleDefinition

_LOGITS, _GRAD_CAM = "logits.xml", "grad_cam.xml"
_FORMAT = 1
"""To be raised when the conversion makes something else of the same network."""


def kept_or(
    convert: Callable[[BundleDefinition], OpenVinoModels], definition: BundleDefinition, digest: str, store: Path
) -> OpenVinoModels:
    """Return the network as it was kept in ``store``, or convert and keep it; others of the bundle are removed.

    Raises:
        BundleError, ConversionError: as ``convert`` does.
    """
    folder = store / f"{definition.name}-{_key(definition, digest)}"
    explained = folder / _GRAD_CAM if definition.manifest.saliency is not None else None
    with suppress(RuntimeError):  # not there, or broken
        return OpenVinoModels.read(folder / _LOGITS, explained)
    with _alone(store, definition.name):
        with suppress(RuntimeError):
            return OpenVinoModels.read(folder / _LOGITS, explained)
        models = convert(definition)
        _keep(models, folder)
    for other in store.glob(f"{definition.name}-*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    return models


@contextmanager
def _alone(store: Path, name: str) -> Iterator[None]:
    """Let workers that start at once on a shared folder convert a network one time, for all; it takes many seconds."""
    try:
        store.mkdir(exist_ok=True)
        lock = (store / f".{name}.lock").open("w")
    except OSError:  # then each converts for itself
        yield
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _key(definition: BundleDefinition, digest: str) -> str:
    """Changes with everything that the conversion depends on."""
    said = (_FORMAT, digest, definition.inference, target_layer(definition), version("openvino"), version("torch"))
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def _keep(models: OpenVinoModels, folder: Path) -> None:
    """Write them whole or not at all; without them the next start converts again."""
    try:
        folder.parent.mkdir(exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
    except OSError:
        return
    try:
        ov.save_model(models.logits, draft / _LOGITS, compress_to_fp16=False)
        if models.grad_cam is not None:
            ov.save_model(models.grad_cam, draft / _GRAD_CAM, compress_to_fp16=False)
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
    except (OSError, RuntimeError):
        shutil.rmtree(draft, ignore_errors=True)
