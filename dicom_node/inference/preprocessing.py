"""From the pixels of one image to what the network is given: one definition, for serving and for training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dicom_node.domain import FloatArray, ImageStack, NotApplicable
from dicom_node.inference.array_transforms import EmptyImage, Prepared, Step
from dicom_node.manifest import InputDefinition, Window


def apply_window(hounsfield: FloatArray, window: Window) -> FloatArray:
    """Map Hounsfield units to display grey in [0, 1], linearly over the window (PS3.3 C.11.2.1.3.2, LINEAR_EXACT)."""
    grey = (hounsfield - np.float32(window.center - window.width / 2)) / np.float32(window.width)
    return np.asarray(grey.clip(0, 1), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """A bundle's transforms, fed with arrays instead of files.

    The steps are given the display grey of one image, or its colour, as :class:`Prepared` with the identity as affine.
    """

    steps: tuple[Step, ...]
    input: InputDefinition

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

    def __call__(self, image: FloatArray) -> Prepared:
        """Return the network's input (C, h, w) for one image: display grey (H, W) or colour (H, W, 3).

        Raises:
            NotApplicable: the bundle's transforms cannot take such an image.
        """
        planes = image[None] if image.ndim == 2 else np.moveaxis(image, -1, 0)
        pixels = np.ascontiguousarray(np.broadcast_to(planes, (self.input.channels, *image.shape[:2])))
        prepared = Prepared(pixels, np.eye(3))
        try:
            for step in self.steps:
                prepared = step(prepared)
        except EmptyImage as error:
            size = f"{image.shape[0]} x {image.shape[1]}"
            why = f": {error}" if str(error) else ""
            raise NotApplicable(
                f"The model's preprocessing leaves nothing of an image of {size} pixels{why}."
            ) from error
        return prepared
