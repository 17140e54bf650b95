"""What on an image is the patient, for bundles that crop to it (``select_fn`` of MONAI's ``CropForegroundd``)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

SOFT_TISSUE_ABOVE = 0.12
"""Display grey in a bundle's window."""

_OPENING = (1, 5, 5)


def soft_tissue(image: Any) -> npt.NDArray[np.bool_]:
    """Return where a CT image (C, H, W) in display grey shows tissue; everywhere where it shows none at all.

    Opened with a square of 5 pixels, which takes the table, tubes and noise away.
    """
    # At the border the nearest pixel counts again, so that nothing from outside takes part.
    eroded = ndimage.minimum_filter(np.asarray(image), _OPENING, mode="nearest")
    soft: npt.NDArray[np.bool_] = ndimage.maximum_filter(eroded, _OPENING, mode="nearest") > SOFT_TISSUE_ABOVE
    return soft if soft.any() else np.ones_like(soft)
