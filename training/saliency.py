"""Draws examples of where a bundle's network looks, from images that may be shown: synthetic ones, or a site's own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom import Dataset

from dicom_node.demo import phantoms
from dicom_node.domain import ImageStack
from dicom_node.imaging.stacks import read_stacks
from dicom_node.inference.backends.choice import Backend
from dicom_node.inference.bundle import Bundle
from dicom_node.inference.saliency import heat_map
from dicom_node.inference.scoring import score_images
from dicom_node.manifest import ImageKind
from dicom_node.results.display import with_heat
from training.foreign_images import read_stacks_below
from training.labelled_images import DataError
from training.model_card import SALIENCY_FOLDER

_SIDE = 256


class Phantom(StrEnum):
    """A synthetic study of ``dicom_node.demo``, which shows nobody."""

    CHEST_RADIOGRAPH = "chest-radiograph"
    CHEST_CT = "chest-ct"
    ABDOMEN_CT = "abdomen-ct"

    def study(self) -> Sequence[Dataset]:
        """Make it."""
        match self:
            case Phantom.CHEST_RADIOGRAPH:
                return phantoms.chest_radiograph()
            case Phantom.CHEST_CT:
                return phantoms.chest_ct()
            case Phantom.ABDOMEN_CT:
                return phantoms.abdomen_ct()


def write_saliency(folder: Path, phantom: Phantom | None, images: Path | None) -> list[Path]:
    """Draw ``docs/saliency/*.png`` of the bundle in ``folder`` anew, one for each source and finding.

    Of a series, on the image on which the finding is most probable: Grad-CAM of its most probable class there.
    Beside the image stands the same with the heat map. Without sources there are no pictures, and the card says so.

    Raises:
        DataError: the phantom is of another kind than the bundle reads, or the folder holds no images.
    """
    bundle = Bundle.load(folder, Backend("torch"), even_if_disabled=True)
    stacks = _of_phantom(phantom, bundle.manifest.kind) if phantom else {}
    if images is not None:
        files = sorted(path for path in images.rglob("*") if path.is_file())
        read = enumerate(read_stacks_below(files, bundle.manifest.kind), start=1)
        stacks |= {f"image{number}": stack for number, stack in read if isinstance(stack, ImageStack)}
    if not stacks and (phantom or images):
        raise DataError(f"{phantom or images}: holds no image that {bundle.name} reads.")
    shutil.rmtree(folder / SALIENCY_FOLDER, ignore_errors=True)
    written = []
    for name, stack in stacks.items():
        for finding, picture in _pictures(bundle, stack):
            path = folder / SALIENCY_FOLDER / f"{name}_{finding}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path, optimize=True)
            written.append(path)
    return written


def _of_phantom(phantom: Phantom, kind: ImageKind) -> dict[str, ImageStack]:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.dcm" for number, _ in enumerate(phantom.study())]
        for path, dataset in zip(paths, phantom.study(), strict=True):
            dataset.save_as(path, enforce_file_format=True)
        return {f"phantom_{phantom}": stack for stack in read_stacks(kind, paths).stacks}


def _pictures(bundle: Bundle, stack: ImageStack) -> Iterator[tuple[str, Image.Image]]:
    scores = score_images(bundle, stack).probabilities
    for finding in bundle.manifest.findings:
        classes = bundle.manifest.class_indices(finding)
        index = int(np.argmax(scores[:, classes].sum(axis=1)))
        image = bundle.preprocessing.display_image(stack, index)
        heat = heat_map(bundle, image, classes[int(np.argmax(scores[index, classes]))])
        shown = Image.fromarray((image * 255 + 0.5).astype(np.uint8))
        hot = shown.convert("RGB") if heat is None else with_heat(shown, heat)
        both = Image.new("RGB", (2 * _SIDE, _SIDE))
        for place, half in enumerate((shown.convert("RGB"), hot)):
            both.paste(half.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR), (place * _SIDE, 0))
        yield finding.name, both
