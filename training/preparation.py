"""Labelled image files to network input, by the bundle's own preprocessing."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from dicom_node.imaging.plain_image import read_plain_image
from dicom_node.inference.preprocessing import Preprocessing
from training.labelled_images import LabelledImage


def prepare(images: Sequence[LabelledImage], preprocessing: Preprocessing) -> dict[LabelledImage, Tensor]:
    """Read and preprocess each image once; a data set of some thousand images fits in memory."""
    prepared = {}
    for image in tqdm(images, desc="reading", unit="image", mininterval=5, file=sys.stderr):
        pixels = preprocessing.display_image(read_plain_image(image.path), 0)
        prepared[image] = torch.from_numpy(preprocessing(pixels).pixels)
    return prepared
