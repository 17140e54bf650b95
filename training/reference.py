"""How a bundle's training images are spread, kept with it for the node to hold its own images against."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tqdm import tqdm

from dicom_node.imaging.plain_image import read_plain_image
from dicom_node.inference.definition import BundleDefinition
from dicom_node.lifecycle.drift import pixel_features
from dicom_node.lifecycle.inputs import REFERENCE_FILE, reference_of
from dicom_node.manifest import ImageKind
from training.configuration import load_training_configuration
from training.labelled_images import DataError, find_labelled_images
from training.training_run import TRAIN_FOLDER


def write_reference(folder: Path, data: Path) -> int:
    """Write ``docs/reference.json`` of the bundle in ``folder`` from the images of ``data/train``; returns how many.

    Plain images tell of their pixels only, neither of the patient nor of the device.

    Raises:
        DataError: the bundle reads slides, whose overview a node measures and not their tiles; or there are no images.
    """
    definition = BundleDefinition.load(folder)
    if definition.manifest.kind is ImageKind.SLIDE:
        raise DataError(f"{definition.name}: tiles are not like the overviews of slides; a node compares its own.")
    aliases = load_training_configuration(folder).class_folders
    images = find_labelled_images(data / TRAIN_FOLDER, definition.manifest.classes, aliases)
    bar = tqdm(images, desc="reading", unit="image", mininterval=5, file=sys.stderr)
    cases = [pixel_features(read_plain_image(image.path).pixels[0]) for image in bar]
    path = folder / REFERENCE_FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(reference_of(cases), indent=1) + "\n", encoding="utf-8")
    return len(cases)
