"""The grey scale pipeline of a radiograph: stored values to display grey (PS3.4 N.2, PS3.3 C.11)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.pixels.processing import apply_modality_lut

from dicom_node.imaging.decoding import first_value

Values = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class VoiFunction(StrEnum):
    """VOI LUT Function (0028,1056)."""

    LINEAR = "LINEAR"
    LINEAR_EXACT = "LINEAR_EXACT"
    SIGMOID = "SIGMOID"


@dataclass(frozen=True, slots=True)
class VoiWindow:
    """Window Center, Window Width and the function that they parametrise, in output units of the Modality LUT."""

    center: float
    width: float
    function: VoiFunction = VoiFunction.LINEAR

    def apply(self, values: Values) -> Values:
        """Map values to [0, 1] (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
        if self.function is VoiFunction.SIGMOID:
            exponent = np.clip(-4.0 * (values - self.center) / self.width, -700.0, 700.0)
            return np.asarray(1.0 / (1.0 + np.exp(exponent)))
        if self.function is VoiFunction.LINEAR_EXACT:
            return _ramp(values, self.center, self.width)
        if self.width == 1:
            return np.asarray(values > self.center - 0.5, dtype=np.float64)
        return _ramp(values, self.center - 0.5, self.width - 1)


def _ramp(values: Values, center: float, width: float) -> Values:
    """Rise from 0 to 1 over ``width``; in one new array, since radiographs are large."""
    grey = values - center
    grey /= width
    grey += 0.5
    return np.clip(grey, 0.0, 1.0, out=grey)


def to_display_grey(stored: npt.NDArray[Any], header: Dataset) -> tuple[Values, tuple[str, ...]]:
    """Take stored values through Modality LUT, VOI LUT or window, and polarity, to display grey.

    Where there is neither VOI LUT nor window, images of up to 8 bits keep their whole range (so they equal the
    same picture as PNG or JPEG); deeper ones are stretched from the lowest to the highest value that is not padding.
    Padding becomes black whatever the polarity.

    Returns:
        float64 in [0, 1], 0 is black; and sentences about what looked odd.
    """
    padding = padding_mask(stored, header)
    values = _apply_modality(stored, header)
    grey, notes = _apply_voi(stored, values, padding, header)
    inverted, polarity_notes = is_inverted(header)
    if inverted:
        np.subtract(1.0, grey, out=grey)
    if padding is not None:
        grey = np.where(padding, 0.0, grey)
    return grey, notes + polarity_notes


def _apply_modality(stored: npt.NDArray[Any], header: Dataset) -> Values:
    if header.get("ModalityLUTSequence"):
        return np.asarray(apply_modality_lut(stored, header), dtype=np.float64)
    slope, intercept = _rescale(header)
    values = stored.astype(np.float64)
    values *= slope
    values += intercept
    return values


def _rescale(header: Dataset) -> tuple[float, float]:
    slope, intercept = first_value(header, "RescaleSlope"), first_value(header, "RescaleIntercept")
    return (1.0, 0.0) if not slope or intercept is None else (slope, intercept)


def padding_mask(stored: npt.NDArray[Any], header: Dataset) -> Mask | None:
    """Find Pixel Padding Value, or the range up to Pixel Padding Range Limit, among stored values (PS3.3 C.7.5.1.1.2).

    Returns:
        A boolean mask, or None where the image declares no padding or has none.
    """
    value, limit = first_value(header, "PixelPaddingValue"), first_value(header, "PixelPaddingRangeLimit")
    if value is None:
        return None
    low, high = sorted(_as_stored(bound, header) for bound in (value, value if limit is None else limit))
    mask: Mask = (stored >= low) & (stored <= high)
    return mask if mask.any() else None


def _as_stored(value: float, header: Dataset) -> int:
    """Read a padding value as signed where pixels are: writers confuse US and SS."""
    bits = int(header.BitsAllocated)
    number = int(value)
    if header.get("PixelRepresentation") == 1:
        return number - (1 << bits) if number >= 1 << (bits - 1) else number
    return number + (1 << bits) if number < 0 else number


def is_inverted(header: Dataset) -> tuple[bool, tuple[str, ...]]:
    """Say whether low values are shown white, and what is contradictory about it.

    MONOCHROME1 (PS3.3 C.7.6.3.1.2) and Presentation LUT Shape INVERSE (C.11.6.1.2) mean the same inversion after
    the VOI LUT; DX images carry both, and are inverted once.
    """
    photometric, shape = str(header.PhotometricInterpretation), str(header.get("PresentationLUTShape") or "")
    inverted = photometric == "MONOCHROME1" or shape == "INVERSE"
    consistent = {"IDENTITY": "MONOCHROME2", "INVERSE": "MONOCHROME1"}.get(shape, photometric) == photometric
    if consistent:
        return inverted, ()
    return inverted, (f"Presentation LUT Shape {shape} contradicts {photometric}: the image was read as inverted.",)


def _apply_voi(
    stored: npt.NDArray[Any], values: Values, padding: Mask | None, header: Dataset
) -> tuple[Values, tuple[str, ...]]:
    if header.get("VOILUTSequence"):
        return _apply_voi_lut(values, header.VOILUTSequence[0]), ()
    window = voi_window(header)
    valid = values if padding is None else values[~padding]
    if window is not None:
        grey = window.apply(values)
        windowed = grey if padding is None else grey[~padding]
        if np.ptp(windowed) > 0 or valid.size == 0 or np.ptp(valid) == 0:
            return grey, ()
        note = (
            f"The window (center {window.center:g}, width {window.width:g}) shows nothing of this image:"
            " its full range was read instead."
        )
        return _stretch(values, float(valid.min()), float(valid.max())), (note,)
    if valid.size == 0:
        return np.zeros_like(values), ()
    low, high = _stored_range(header) if _keeps_stored_range(header) else (float(valid.min()), float(valid.max()))
    return _stretch(values, low, high), ()


def voi_window(header: Dataset) -> VoiWindow | None:
    """Return the first window of an image, None where it has none or an impossible one."""
    center, width = first_value(header, "WindowCenter"), first_value(header, "WindowWidth")
    name = str(header.get("VOILUTFunction") or "LINEAR")
    function = VoiFunction(name) if name in list(VoiFunction) else VoiFunction.LINEAR
    if center is None or width is None or width <= 0 or (function is VoiFunction.LINEAR and width < 1):
        return None
    return VoiWindow(center, width, function)


def _apply_voi_lut(values: Values, item: Dataset) -> Values:
    """Look values up in a VOI LUT (PS3.3 C.11.2.1.1) and scale by the bits that the table uses.

    The bits come from the largest entry, not from LUT Descriptor: writers claim 16 bits for 12-bit tables.
    """
    entries, first_mapped, _ = (int(number) for number in item.LUTDescriptor)
    data = item.LUTData
    table = np.frombuffer(data, dtype="<u2") if isinstance(data, bytes) else np.asarray(data, dtype=np.int64)
    table = table[: entries or 65536].astype(np.float64)
    indices = np.clip(np.rint(values) - first_mapped, 0, len(table) - 1).astype(np.int64)
    highest = (1 << max(1, int(table.max()).bit_length())) - 1
    return np.asarray(table[indices] / highest)


def _keeps_stored_range(header: Dataset) -> bool:
    return int(header.BitsStored) <= 8 and not header.get("ModalityLUTSequence")


def _stored_range(header: Dataset) -> tuple[float, float]:
    """The lowest and highest value that the stored bits can take, after rescaling."""
    bits = int(header.BitsStored)
    signed = header.get("PixelRepresentation") == 1
    ends = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    slope, intercept = _rescale(header)
    low, high = sorted(slope * end + intercept for end in ends)
    return low, high


def _stretch(values: Values, low: float, high: float) -> Values:
    return np.clip((values - low) / (high - low), 0.0, 1.0) if high > low else np.zeros_like(values)
