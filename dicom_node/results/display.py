"""Images as they are put on a page: grey values in their window, heat in colour, squares for pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from dicom_node.domain import FloatArray, ImagePlane, ImageStack
from dicom_node.manifest import Window

ByteArray = npt.NDArray[np.uint8]

# Dark red over orange to pale yellow: it rises in lightness, so that it also reads in grey.
_HEAT_STOPS = np.array([0.0, 0.35, 0.7, 1.0])
_HEAT_COLOURS = np.array([[90, 0, 30], [215, 40, 20], [255, 160, 20], [255, 245, 170]], dtype=np.float64)
_HEAT_TABLE = np.stack(
    [np.interp(np.linspace(0, 1, 256), _HEAT_STOPS, channel) + 0.5 for channel in _HEAT_COLOURS.T], axis=-1
).astype(np.uint8)
_HEAT_OPACITY = 0.6
# Below this the heat map is transparent: faint heat everywhere would veil the anatomy.
_HEAT_FLOOR = 0.2


def display_image(stack: ImageStack, index: int, window: Window | None) -> Image.Image:
    """The image at ``index`` as it is shown: RGB where the stack has colour, else grey (mode L)."""
    if stack.colour is not None:
        return Image.fromarray(stack.colour[index])
    return Image.fromarray(grey_image(stack, index, window))


def grey_image(stack: ImageStack, index: int, window: Window | None) -> ByteArray:
    """The image at ``index`` as 8 bit grey, (H, W): in ``window`` where the stack holds Hounsfield units."""
    pixels = stack.pixels[index]
    if not stack.hounsfield:
        return _to_bytes(pixels)
    window = window or Window(center=40, width=400)
    # PS3.3 C.11.2.1.2.1 (LINEAR), for output 0 to 1.
    return _to_bytes((pixels - (window.center - 0.5)) / max(window.width - 1, 1) + 0.5)


def _to_bytes(unit: npt.NDArray[np.floating]) -> ByteArray:
    # What is no number becomes 0.
    levels = np.fmax(unit, 0)
    np.minimum(levels, 1, out=levels)
    levels *= 255
    levels += 0.5
    return np.asarray(levels, dtype=np.uint8)


def heat_colours(values: npt.NDArray[np.floating]) -> ByteArray:
    """Colours, (..., 3), for heat in [0, 1]."""
    return np.asarray(_HEAT_TABLE.take(_to_bytes(values), axis=0))


def with_heat(image: Image.Image, heat: FloatArray) -> Image.Image:
    """``image`` (mode L or RGB) with ``heat``, (H, W) in [0, 1] and scaled to it, laid over in colour."""
    whole = Image.fromarray(heat.astype(np.float32, copy=False))
    # Heat is smooth: pixels may be averaged by whole numbers first.
    scaled = np.asarray(whole.resize(image.size, Image.Resampling.BILINEAR, reducing_gap=1.0))
    opacity = _HEAT_OPACITY * np.sqrt(np.clip((scaled - _HEAT_FLOOR) / (1 - _HEAT_FLOOR), 0, 1))
    colours, mask = Image.fromarray(heat_colours(scaled)), Image.fromarray(_to_bytes(opacity))
    return Image.composite(colours, image.convert("RGB"), mask)


def fitted_size(plane: ImagePlane, width: int, height: int) -> tuple[int, int]:
    """The largest (width, height) within the given one that shows the plane's pixels in their true shape."""
    aspect = plane.pixel_aspect
    if plane.pixel_spacing is not None and plane.pixel_spacing[1] > 0:
        aspect = plane.pixel_spacing[0] / plane.pixel_spacing[1]
    true_height = plane.rows * aspect
    scale = min(width / plane.columns, height / true_height)
    return max(1, round(plane.columns * scale)), max(1, round(true_height * scale))
