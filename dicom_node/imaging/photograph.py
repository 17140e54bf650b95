"""Colour images of visible light, such as fields of a microscope, to the stack that a model reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dicom_node.domain import ImagePlane, ImageStack, NotApplicable
from dicom_node.imaging.decoding import decode_frames, first_value, numbers, read_header
from dicom_node.imaging.radiograph import LUMA


def read_photograph(path: Path) -> ImageStack:
    """Read one VL image (PS3.3 A.32.1) in colour.

    Returns:
        One image: ``colour`` (1, H, W, 3), and its luma.

    Raises:
        UnreadableImage: the file is broken, or holds no image.
        NotApplicable: it holds more than one frame, or no colour of 8 bits.
    """
    header = read_header(path)
    frames = first_value(header, "NumberOfFrames") or 1
    if frames > 1:
        raise NotApplicable(f"The image has {frames:.0f} frames; a photograph has one.")
    if first_value(header, "SamplesPerPixel") != 3 or first_value(header, "BitsAllocated") != 8:
        raise NotApplicable("The image is not in colour of 8 bits.")
    frame = next(decode_frames(path, header, [0]))
    spacing = numbers(header, "PixelSpacing", 2)
    if spacing is not None and min(spacing) <= 0:
        spacing = None
    plane = ImagePlane(
        sop_instance_uid=str(header.get("SOPInstanceUID", "")),
        sop_class_uid=str(header.get("SOPClassUID", "")),
        rows=int(header.Rows),
        columns=int(header.Columns),
        pixel_spacing=None if spacing is None else (spacing[0], spacing[1]),
        pixel_aspect=1.0 if spacing is None else spacing[0] / spacing[1],
    )
    luma = np.asarray(frame @ LUMA / 255, dtype=np.float32)
    return ImageStack(luma[np.newaxis], (plane,), colour=np.asarray(frame, dtype=np.uint8)[np.newaxis])
