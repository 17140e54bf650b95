"""The files that pages show: where they lie, and how a secondary capture looks."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.pixels.utils import pixel_array

from dicom_node.stored_files import NotStored, StoredFiles


class NotAPicture(Exception):
    """The object, or this frame of it, cannot be shown; the text says why."""


def stored_path(files: StoredFiles, folder: Path, relative: str) -> Path | None:
    """The file of an object, or None where it is gone or damaged, or ``relative`` leads out of ``folder``.

    Raises:
        OSError: it cannot be had now (``passing.passes``).
    """
    path = folder / relative
    if not path.resolve().is_relative_to(folder.resolve()):
        return None
    try:
        with files.at_hand([path]):
            return path if path.is_file() else None
    except NotStored:
        return None


def frames_of_results(files: StoredFiles, folder: Path, relatives: Mapping[str, str]) -> dict[str, int]:
    """How many frames each of a study's objects has, by SOP Instance UID; those that cannot be had now are left out."""
    found = {}
    for uid, relative in relatives.items():
        with suppress(OSError):
            if (path := stored_path(files, folder, relative)) is not None:
                found[uid] = number_of_frames(path)
    return found


@lru_cache(maxsize=1024)
def number_of_frames(path: Path) -> int:
    """How many frames the object has; 0 where it cannot be read. A result object never changes once written."""
    try:
        dataset = dcmread(path, specific_tags=["NumberOfFrames"], stop_before_pixels=True)
    except (OSError, InvalidDicomError):
        return 0
    return int(dataset.get("NumberOfFrames") or 1)


def render_png(path: Path, frame: int) -> bytes:
    """One frame (from 1) of an RGB secondary capture as PNG.

    Raises:
        NotAPicture: the file is no 8-bit RGB image, is damaged, or has no such frame.
    """
    frames = number_of_frames(path)
    if not 1 <= frame <= frames:
        raise NotAPicture(f"The object has {frames} frames; there is no frame {frame}.")
    try:
        pixels = pixel_array(path, index=frame - 1)
    except (OSError, InvalidDicomError, AttributeError, ValueError, RuntimeError) as error:
        raise NotAPicture(f"The object cannot be rendered ({type(error).__name__}).") from error
    if pixels.dtype != np.uint8 or pixels.ndim != 3:
        raise NotAPicture("The object is not an 8-bit colour image.")
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
