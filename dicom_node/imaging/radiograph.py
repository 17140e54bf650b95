"""CR, DX and secondary capture images to the display grey that a model reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.pixels.processing import apply_color_lut

from dicom_node.domain import ImagePlane, ImageStack, NotApplicable
from dicom_node.imaging.decoding import decode_frames, first_value, numbers, read_header
from dicom_node.imaging.errors import UnreadableImage
from dicom_node.imaging.greyscale import Values, to_display_grey

LUMA = np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601 weights of red, green and blue, the ones that plain colour images are read with."""


def read_radiograph(path: Path) -> ImageStack:
    """Read one projection image as it is displayed.

    The pixels stay on the grid of the DICOM image, which SCOORD coordinates refer to: pixels that are not square
    are told of in the plane (``pixel_aspect``), not resampled.

    Returns:
        One image: pixels float32 (1, H, W) in [0, 1].

    Raises:
        UnreadableImage: the file is broken, or holds no image.
        NotApplicable: it holds more than one frame.
    """
    header = read_header(path)
    frames = first_value(header, "NumberOfFrames") or 1
    if frames > 1:
        raise NotApplicable(f"The image has {frames:.0f} frames; a radiograph has one.")
    frame = next(decode_frames(path, header, [0]))
    try:
        grey, notes = _display_grey(frame, header)
    except (AttributeError, IndexError, KeyError, NotImplementedError, TypeError, ValueError) as error:
        raise UnreadableImage(path, f"its look-up tables are broken: {error}") from error
    pixels = np.asarray(grey, dtype=np.float32)[np.newaxis]
    return ImageStack(pixels=pixels, planes=(_plane(header),), notes=notes + _purpose_notes(header))


def _display_grey(frame: npt.NDArray[Any], header: Dataset) -> tuple[Values, tuple[str, ...]]:
    if header.PhotometricInterpretation in ("MONOCHROME1", "MONOCHROME2"):
        return to_display_grey(frame, header)
    if header.PhotometricInterpretation == "PALETTE COLOR":
        colour = apply_color_lut(frame, header)[..., :3]
        highest = float(np.iinfo(colour.dtype).max)
    else:
        colour, highest = frame, float((1 << int(header.BitsStored)) - 1)
    return np.clip(colour.astype(np.float64) @ LUMA / highest, 0.0, 1.0), ()


def _plane(header: Dataset) -> ImagePlane:
    spacing = numbers(header, "PixelSpacing", 2) or numbers(header, "ImagerPixelSpacing", 2)
    ratio = numbers(header, "PixelAspectRatio", 2)
    if spacing is not None and min(spacing) <= 0:
        spacing = None
    aspect = spacing or ratio  # PS3.3 C.7.6.3.1.7: both are vertical, then horizontal
    return ImagePlane(
        sop_instance_uid=str(header.get("SOPInstanceUID", "")),
        sop_class_uid=str(header.get("SOPClassUID", "")),
        rows=int(header.Rows),
        columns=int(header.Columns),
        pixel_spacing=None if spacing is None else (spacing[0], spacing[1]),
        pixel_aspect=1.0 if aspect is None or min(aspect) <= 0 else aspect[0] / aspect[1],
    )


def _purpose_notes(header: Dataset) -> tuple[str, ...]:
    if header.get("PresentationIntentType") == "FOR PROCESSING":
        return ("The image is the detector's, meant for processing and not for display.",)
    return ()
