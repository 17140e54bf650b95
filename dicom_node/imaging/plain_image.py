"""Plain images (PNG, JPEG) to the stack that a model reads."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from dicom_node.domain import ByteArray, FloatArray, ImagePlane, ImageStack
from dicom_node.imaging.errors import UnreadableImage

FORMATS = ("PNG", "JPEG")
MAXIMUM_PIXELS = 100_000_000
"""More than any detector gives; a small file that claims more is a decompression bomb."""


def read_plain_image(path: Path) -> ImageStack:
    """Read a PNG or JPEG file as display grey, and in colour where it has colour.

    Grey is luma (ITU-R 601), 16-bit grey keeps its precision, transparent pixels lie on black and the
    EXIF orientation is applied.

    Returns:
        One image: pixels float32 (1, H, W) in [0, 1]; its plane carries no UIDs.

    Raises:
        UnreadableImage: the file is missing, no PNG or JPEG, broken, or unreasonably large.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAXIMUM_PIXELS:
                raise UnreadableImage(path, f"{image.width} x {image.height} pixels is more than is read")
            upright = _opaque(ImageOps.exif_transpose(image))
            grey, colour = _grey(upright), _colour(upright)
    except UnidentifiedImageError:
        raise UnreadableImage(path, "not a PNG or JPEG image") from None
    except Image.DecompressionBombError as error:
        raise UnreadableImage(path, f"more pixels than is read: {error}") from error
    except OSError as error:
        raise UnreadableImage(path, f"cannot be read: {error.strerror or error}") from error
    except (SyntaxError, ValueError, EOFError, struct.error, zlib.error) as error:  # what Pillow's parsers let through
        raise UnreadableImage(path, f"broken image file: {error}") from error
    rows, columns = grey.shape
    plane = ImagePlane(sop_instance_uid="", sop_class_uid="", rows=rows, columns=columns)
    return ImageStack(pixels=grey[np.newaxis], planes=(plane,), colour=colour)


def _grey(image: Image.Image) -> FloatArray:
    if image.mode.startswith("I"):
        deep: FloatArray = np.clip(np.asarray(image, dtype=np.float32) / np.float32(65535), 0, 1)
        return deep
    return np.asarray(image.convert("L"), dtype=np.float32) / np.float32(255)


def _colour(image: Image.Image) -> ByteArray | None:
    """RGB, (1, H, W, 3); None for grey images."""
    if image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I"):
        return None
    return np.asarray(image.convert("RGB"))[np.newaxis]


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or not image.has_transparency_data:
        return image
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, image.convert("RGBA"))
