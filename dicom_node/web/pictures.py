"""Received images as pictures for the pages: one frame, as it is displayed, no larger than asked."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import Dataset
from pydicom.pixels.processing import apply_color_lut

from dicom_node.domain import ByteArray
from dicom_node.imaging.decoding import decode_frames, first_value, read_header
from dicom_node.imaging.errors import UnreadableImage
from dicom_node.imaging.greyscale import to_display_grey
from dicom_node.web.result_objects import NotAPicture


def render_instance(path: Path, frame: int, largest: int) -> bytes:
    """One frame (from 1) of a received image as PNG, at most ``largest`` pixels on its longer side.

    Raises:
        NotAPicture: the file holds no image, is damaged, or has no such frame.
    """
    try:
        header = read_header(path)
        frames = int(first_value(header, "NumberOfFrames") or 1)
        if not 1 <= frame <= frames:
            raise NotAPicture(f"The image has {frames} frames; there is no frame {frame}.")
        pixels = _displayed(next(decode_frames(path, header, [frame - 1])), header)
    except UnreadableImage as error:
        raise NotAPicture(f"The image cannot be shown: {error.reason}.") from error
    except (AttributeError, IndexError, KeyError, NotImplementedError, TypeError, ValueError) as error:
        raise NotAPicture(f"The image cannot be shown ({type(error).__name__}).") from error
    picture = Image.fromarray(pixels)
    picture.thumbnail((largest, largest))
    buffer = BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def _displayed(stored: npt.NDArray[Any], header: Dataset) -> ByteArray:
    if header.PhotometricInterpretation == "PALETTE COLOR":
        colour = apply_color_lut(stored, header)[..., :3]
        return np.asarray(colour >> 8 if colour.dtype == np.uint16 else colour, dtype=np.uint8)
    if stored.ndim == 3:
        return np.asarray(stored >> max(0, int(header.BitsStored) - 8), dtype=np.uint8)
    grey, _ = to_display_grey(stored, header)
    return np.asarray(np.round(grey * 255), dtype=np.uint8)
