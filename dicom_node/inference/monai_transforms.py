"""A bundle's preprocessing by MONAI itself, for transforms that :mod:`array_transforms` does not know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose
from monai.transforms.io.dictionary import LoadImaged
from monai.transforms.utility.dictionary import EnsureChannelFirstd

from dicom_node.inference.array_transforms import EmptyImage, Prepared, Step

_IMAGE_KEY = "image"


def monai_step(transforms: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Step:
    """Return the transforms as one step, without the file loading that comes first in a bundle of the Model Zoo."""
    if isinstance(transforms, Compose):
        steps = list(transforms.transforms)
        while steps and isinstance(steps[0], LoadImaged | EnsureChannelFirstd):
            steps.pop(0)
        transforms = Compose(steps)

    def step(prepared: Prepared) -> Prepared:
        source = MetaTensor(torch.from_numpy(prepared.pixels.copy()), affine=torch.from_numpy(prepared.affine))
        try:
            result = transforms({_IMAGE_KEY: source})[_IMAGE_KEY]
        except RuntimeError as error:  # MONAI wraps whatever a transform raises in it
            raise EmptyImage(str(error)) from error
        affine = result.affine if isinstance(result, MetaTensor) else source.affine
        pixels = result.as_tensor() if isinstance(result, MetaTensor) else torch.as_tensor(result)
        return Prepared(pixels.float().numpy(), np.asarray(affine, dtype=np.float64))

    return step
