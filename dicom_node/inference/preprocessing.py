"""From the pixels of one image to what the network is given: one definition, for serving and for training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose
from monai.transforms.io.dictionary import LoadImaged
from monai.transforms.utility.dictionary import EnsureChannelFirstd

from dicom_node.domain import FloatArray, ImageStack, NotApplicable
from dicom_node.manifest import InputDefinition, Window

IMAGE_KEY = "image"

Transform = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def apply_window(hounsfield: FloatArray, window: Window) -> FloatArray:
    """Map Hounsfield units to display grey in [0, 1], linearly over the window (PS3.3 C.11.2.1.3.2, LINEAR_EXACT)."""
    grey = (hounsfield - np.float32(window.center - window.width / 2)) / np.float32(window.width)
    return np.asarray(grey.clip(0, 1), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """A bundle's transforms, fed with arrays instead of files.

    MONAI's dictionary transforms are given the display grey of one image under the key "image", as a
    MetaTensor (C, H, W) whose affine maps pixel indices of the network's input back to those of the image.
    """

    transforms: Transform
    input: InputDefinition

    @classmethod
    def of(cls, transforms: Transform, definition: InputDefinition) -> Preprocessing:
        """Take a bundle's ``preprocessing``, without the file loading that comes first in it."""
        if isinstance(transforms, Compose):
            steps = list(transforms.transforms)
            while steps and isinstance(steps[0], LoadImaged | EnsureChannelFirstd):
                steps.pop(0)
            transforms = Compose(steps)
        return cls(transforms, definition)

    def display_grey(self, stack: ImageStack, index: int) -> FloatArray:
        """Return one image of the stack as the model's transforms expect it: (H, W) in [0, 1]."""
        pixels = stack.pixels[index]
        if stack.hounsfield and self.input.window is not None:
            return apply_window(pixels, self.input.window)
        return np.asarray(pixels, dtype=np.float32)

    def display_image(self, stack: ImageStack, index: int) -> FloatArray:
        """Return one image in colour, (H, W, 3) in [0, 1], where the model reads slides and has it; else in grey."""
        if self.input.tile_size is None or stack.colour is None:
            return self.display_grey(stack, index)
        return np.asarray(stack.colour[index], dtype=np.float32) / np.float32(255)

    def __call__(self, image: FloatArray) -> MetaTensor:
        """Return the network's input (C, h, w), float32, for one image: display grey (H, W) or colour (H, W, 3).

        Raises:
            NotApplicable: the bundle's transforms cannot take such an image.
        """
        channels_first = np.ascontiguousarray(image if image.ndim == 2 else np.moveaxis(image, -1, 0))
        planes = torch.from_numpy(channels_first).expand(self.input.channels, *image.shape[:2]).contiguous()
        source = MetaTensor(planes, affine=torch.eye(3, dtype=torch.float64))
        try:
            prepared = self.transforms({IMAGE_KEY: source})[IMAGE_KEY]
        except RuntimeError as error:  # MONAI wraps whatever a transform raises in it
            size = f"{image.shape[0]} x {image.shape[1]}"
            raise NotApplicable(f"The model's preprocessing cannot take an image of {size} pixels: {error}.") from error
        if isinstance(prepared, MetaTensor):
            return MetaTensor(prepared.as_tensor().float(), affine=prepared.affine)
        return MetaTensor(torch.as_tensor(prepared).float(), affine=source.affine)
