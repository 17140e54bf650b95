from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_voi_lut
from pydicom.uid import (
    HTJ2K,
    UID,
    DeflatedExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from dicom_node.domain import FloatArray, NotApplicable
from dicom_node.imaging.errors import UnreadableImage
from dicom_node.imaging.radiograph import read_radiograph
from tests.imaging.datasets import radiograph, saved

RAMP = np.arange(24, dtype=np.uint16).reshape(4, 6) * 100
"""Stored values 0 to 2300, as a 12-bit detector gives them."""


def grey(folder: Path, dataset: Dataset) -> FloatArray:
    return read_radiograph(*saved(folder, dataset)).pixels[0]


def test_window_follows_the_linear_function_of_the_standard(tmp_path: Path) -> None:
    dataset = radiograph(RAMP, bits_stored=12, WindowCenter=[1000, 5], WindowWidth=[401, 2])

    expected = np.clip((RAMP - 999.5) / 400 + 0.5, 0, 1)
    np.testing.assert_allclose(grey(tmp_path, dataset), expected, atol=1e-6)


def test_modality_lut_is_applied_before_the_window(tmp_path: Path) -> None:
    dataset = radiograph(
        RAMP, bits_stored=12, RescaleSlope=2, RescaleIntercept=-500, WindowCenter=1000, WindowWidth=2001
    )

    expected = np.clip((RAMP * 2.0 - 500 - 999.5) / 2000 + 0.5, 0, 1)
    np.testing.assert_allclose(grey(tmp_path, dataset), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("LINEAR_EXACT", np.clip((RAMP - 1000.0) / 400 + 0.5, 0, 1)),
        ("SIGMOID", 1 / (1 + np.exp(-4 * (RAMP - 1000.0) / 400))),
    ],
)
def test_voi_lut_function_is_honoured(tmp_path: Path, function: str, expected: FloatArray) -> None:
    dataset = radiograph(RAMP, bits_stored=12, WindowCenter=1000, WindowWidth=400, VOILUTFunction=function)

    np.testing.assert_allclose(grey(tmp_path, dataset), expected, atol=1e-6)


def test_a_window_of_width_one_is_a_threshold(tmp_path: Path) -> None:
    dataset = radiograph(RAMP, bits_stored=12, WindowCenter=1000, WindowWidth=1)

    np.testing.assert_array_equal(grey(tmp_path, dataset), RAMP > 999.5)


def voi_lut(bits: int, *, claimed_bits: int | None = None, first_mapped: int = 0) -> Dataset:
    table = (np.linspace(0, 1, 2400) ** 2 * ((1 << bits) - 1)).astype("<u2")
    item = Dataset()
    item.LUTDescriptor = [len(table), first_mapped, claimed_bits or bits]
    item["LUTDescriptor"].VR = "US"
    item.LUTData = table.tolist()
    item["LUTData"].VR = "US"
    return item


def test_first_voi_lut_wins_over_the_window(tmp_path: Path) -> None:
    lut = voi_lut(16)
    dataset = radiograph(RAMP, bits_stored=12, VOILUTSequence=[lut, voi_lut(8)], WindowCenter=5, WindowWidth=2)

    expected = apply_voi_lut(RAMP, dataset) / 65535
    np.testing.assert_allclose(grey(tmp_path, dataset), expected, atol=1e-6)


def test_voi_lut_extends_beyond_its_ends(tmp_path: Path) -> None:
    dataset = radiograph(RAMP, bits_stored=12, VOILUTSequence=[voi_lut(12, first_mapped=1000)])

    pixels = grey(tmp_path, dataset)

    assert np.all(pixels[RAMP <= 1000] == 0)
    assert pixels[RAMP == 2300] == pytest.approx((1300 / 2399) ** 2, abs=1e-3)


def test_voi_lut_that_claims_more_bits_than_it_uses_is_not_dark(tmp_path: Path) -> None:
    claimed = radiograph(RAMP, bits_stored=12, VOILUTSequence=[voi_lut(12, claimed_bits=16)])
    honest = radiograph(RAMP, bits_stored=12, VOILUTSequence=[voi_lut(12)])

    np.testing.assert_array_equal(grey(tmp_path, claimed), grey(tmp_path, honest))


def test_deep_image_without_window_is_stretched_over_its_values(tmp_path: Path) -> None:
    pixels = grey(tmp_path, radiograph(RAMP + 500, bits_stored=12))

    np.testing.assert_allclose(pixels, RAMP / 2300, atol=1e-6)


def test_eight_bit_image_without_window_equals_the_plain_picture(tmp_path: Path) -> None:
    stored = np.arange(40, 64, dtype=np.uint8).reshape(4, 6)

    np.testing.assert_allclose(grey(tmp_path, radiograph(stored)), stored / 255, atol=1e-7)


def test_window_that_shows_nothing_is_not_used(tmp_path: Path) -> None:
    dataset = radiograph(RAMP + 1000, bits_stored=12, WindowCenter=128, WindowWidth=256)

    stack = read_radiograph(*saved(tmp_path, dataset))

    np.testing.assert_allclose(stack.pixels[0], RAMP / 2300, atol=1e-6)
    assert "window" in stack.notes[0]


@pytest.mark.parametrize("width", ["0", "-5", ""])
def test_impossible_window_is_not_used(tmp_path: Path, width: str) -> None:
    dataset = radiograph(RAMP, bits_stored=12, WindowCenter="100", WindowWidth=width)

    np.testing.assert_allclose(grey(tmp_path, dataset), RAMP / 2300, atol=1e-6)


def test_constant_image_is_read_without_warning(tmp_path: Path) -> None:
    assert np.all(grey(tmp_path, radiograph(np.full((4, 6), 7, dtype=np.uint16))) == 0)


@pytest.mark.parametrize("attributes", [{}, {"WindowCenter": 1200, "WindowWidth": 1500}])
def test_monochrome_twins_are_read_alike(tmp_path: Path, attributes: dict[str, float]) -> None:
    twin = dict(attributes)
    if twin:
        twin["WindowCenter"] = 4095 - attributes["WindowCenter"] + 1  # the mirror of a linear window, C.11.2.1.2

    light = grey(tmp_path, radiograph(RAMP, bits_stored=12, **attributes))
    dark = grey(tmp_path, radiograph(4095 - RAMP, bits_stored=12, photometric="MONOCHROME1", **twin))

    np.testing.assert_allclose(light, dark, atol=1e-6)
    assert np.ptp(light) > 0.5


def test_monochrome1_with_inverse_shape_is_inverted_once(tmp_path: Path) -> None:
    both = radiograph(RAMP, bits_stored=12, photometric="MONOCHROME1", PresentationLUTShape="INVERSE")

    stack = read_radiograph(*saved(tmp_path, both))

    np.testing.assert_allclose(stack.pixels[0], 1 - RAMP / 2300, atol=1e-6)
    assert stack.notes == ()


@pytest.mark.parametrize(("photometric", "shape"), [("MONOCHROME2", "INVERSE"), ("MONOCHROME1", "IDENTITY")])
def test_contradictory_polarity_is_inverted_and_told(tmp_path: Path, photometric: str, shape: str) -> None:
    dataset = radiograph(RAMP, bits_stored=12, photometric=photometric, PresentationLUTShape=shape)

    stack = read_radiograph(*saved(tmp_path, dataset))

    np.testing.assert_allclose(stack.pixels[0], 1 - RAMP / 2300, atol=1e-6)
    assert shape in stack.notes[0]


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_does_not_stretch_the_image(tmp_path: Path, photometric: str) -> None:
    stored = RAMP + 1000
    stored[0, :3] = [0, 1, 4095]
    dataset = radiograph(stored, bits_stored=12, photometric=photometric, PixelPaddingValue=0, PixelPaddingRangeLimit=1)
    dataset["PixelPaddingValue"].VR = dataset["PixelPaddingRangeLimit"].VR = "US"

    pixels = grey(tmp_path, dataset)

    assert list(pixels[0, :2]) == [0, 0]
    linear = (stored - 1300.0) / (4095 - 1300)
    expected = 1 - linear if photometric == "MONOCHROME1" else linear
    np.testing.assert_allclose(pixels[1:], expected[1:], atol=1e-6)


def test_padding_written_unsigned_is_found_in_signed_pixels(tmp_path: Path) -> None:
    stored = RAMP.astype(np.int16)
    stored[0, 0] = -2000
    dataset = radiograph(stored, PixelPaddingValue=65536 - 2000)
    dataset["PixelPaddingValue"].VR = "US"

    pixels = grey(tmp_path, dataset)

    np.testing.assert_allclose(pixels[1:], (RAMP[1:] - 100) / 2200, atol=1e-6)
    assert pixels[0, 0] == 0


def test_image_that_is_all_padding_is_black(tmp_path: Path) -> None:
    dataset = radiograph(np.zeros((4, 6), dtype=np.uint16), photometric="MONOCHROME1", PixelPaddingValue=0)
    dataset["PixelPaddingValue"].VR = "US"

    assert np.all(grey(tmp_path, dataset) == 0)


def test_bits_above_the_stored_ones_are_ignored(tmp_path: Path) -> None:
    with_overlay = RAMP | 0xF000

    np.testing.assert_allclose(grey(tmp_path, radiograph(with_overlay, bits_stored=12)), RAMP / 2300, atol=1e-6)


def test_signed_values_are_extended_from_the_stored_bits(tmp_path: Path) -> None:
    twelve_bits = ((RAMP.astype(np.int16) - 1000) & 0x0FFF).astype(np.int16)

    np.testing.assert_allclose(grey(tmp_path, radiograph(twelve_bits, bits_stored=12)), RAMP / 2300, atol=1e-6)


def test_other_bit_layout_is_refused_rather_than_misread(tmp_path: Path) -> None:
    paths = saved(tmp_path, radiograph(RAMP, bits_stored=12, HighBit=15))

    with pytest.raises(UnreadableImage, match="High Bit 15"):
        read_radiograph(*paths)


LARGE_RAMP = (np.mgrid[:64, :64].sum(axis=0) * 30).astype(np.uint16)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless, DeflatedExplicitVRLittleEndian])
def test_lossless_syntaxes_give_the_same_pixels(tmp_path: Path, syntax: UID) -> None:
    plain, packed = (radiograph(LARGE_RAMP, bits_stored=12, WindowCenter=1000, WindowWidth=900) for _ in range(2))
    if syntax == DeflatedExplicitVRLittleEndian:
        packed.file_meta.TransferSyntaxUID = syntax
    else:
        packed.compress(syntax, generate_instance_uid=False)

    np.testing.assert_array_equal(grey(tmp_path, packed), grey(tmp_path, plain))


HTJ2K_CODESTREAM = (
    "/0//UQApQAAAAAAQAAAAEAAAAAAAAAAAAAAAEAAAABAAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCIkJCQkJCQ"
    "kJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAHoAAf+TwAAmm/gFB3QAAMAAEsAAEwD+AId0AEb+Awd0AMAAEsAA"
    "E4DeAAJ0ACAH+QCjVADAABPAABVg7u6gp8J1AIILFiz4wEIB7LYAwAAq4AAWkCRJkufAp6enQngAjh0dHR0dHR39jGB79jGB7LoA/9k="
)
"""200 times the row plus 7 times the column, 16 x 16 at 16 bits, encoded once with OpenJPH: no encoder is at hand."""


@pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K])
def test_high_throughput_jpeg_2000_is_read(tmp_path: Path, syntax: UID) -> None:
    rows, columns = np.mgrid[:16, :16]
    original = (rows * 200 + columns * 7).astype(np.uint16)
    dataset = radiograph(original)
    dataset.PixelData = encapsulate([base64.b64decode(HTJ2K_CODESTREAM)])
    dataset.file_meta.TransferSyntaxUID = syntax

    np.testing.assert_allclose(grey(tmp_path, dataset), original / original.max(), atol=1e-6)


def test_colour_becomes_luma(tmp_path: Path) -> None:
    dataset = radiograph(np.zeros((2, 2), dtype=np.uint8), photometric="RGB", SamplesPerPixel=3, PlanarConfiguration=0)
    dataset.PixelData = bytes([200, 100, 50] * 4)

    expected = (0.299 * 200 + 0.587 * 100 + 0.114 * 50) / 255
    np.testing.assert_allclose(grey(tmp_path, dataset), expected, atol=1e-6)


@pytest.mark.parametrize(
    "name",
    [
        "image_dfl.dcm",  # deflated
        "JPGExtended.dcm",  # JPEG extended, 12 bits
        "JPEG2000.dcm",
        "JPEGLSNearLossless_16.dcm",
        "SC_rgb_jpeg.dcm",  # JPEG baseline, colour
        "SC_ybr_full_422_uncompressed.dcm",
        "SC_rgb_rle_16bit.dcm",
        "examples_palette.dcm",
    ],
)
def test_secondary_captures_of_every_sort_are_read(name: str) -> None:
    path = Path(str(get_testdata_file(name, download=False)))

    stack = read_radiograph(path)

    header = dcmread(path, stop_before_pixels=True)
    assert stack.pixels.shape == (1, header.Rows, header.Columns)
    assert stack.pixels.dtype == np.float32
    assert 0 <= stack.pixels.min() < stack.pixels.max() <= 1
    assert stack.planes[0].sop_instance_uid == header.SOPInstanceUID


@pytest.mark.parametrize(
    ("attributes", "spacing", "aspect"),
    [
        ({"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.3, 0.3]}, (0.2, 0.1), 2.0),
        ({"ImagerPixelSpacing": [0.15, 0.1]}, (0.15, 0.1), 1.5),
        ({"PixelAspectRatio": [2, 1]}, None, 2.0),
        ({}, None, 1.0),
        ({"PixelSpacing": [0, 0]}, None, 1.0),
    ],
)
def test_shape_of_a_pixel_is_told_and_pixels_stay_on_their_grid(
    tmp_path: Path, attributes: dict[str, list[float]], spacing: tuple[float, float] | None, aspect: float
) -> None:
    stack = read_radiograph(*saved(tmp_path, radiograph(RAMP, **attributes)))

    plane = stack.planes[0]
    assert (plane.rows, plane.columns) == stack.pixels.shape[1:] == (4, 6)
    assert plane.pixel_spacing == spacing
    assert plane.pixel_aspect == pytest.approx(aspect)


def test_one_frame_is_read_and_several_are_refused(tmp_path: Path) -> None:
    one = radiograph(RAMP, NumberOfFrames=1)
    two = radiograph(np.stack([RAMP, RAMP]), NumberOfFrames=2)
    paths = saved(tmp_path, one, two)

    assert read_radiograph(paths[0]).pixels.shape == (1, 4, 6)
    with pytest.raises(NotApplicable, match="2 frames"):
        read_radiograph(paths[1])


def test_image_for_processing_is_told(tmp_path: Path) -> None:
    stack = read_radiograph(*saved(tmp_path, radiograph(RAMP, PresentationIntentType="FOR PROCESSING")))

    assert "processing" in stack.notes[0]


def test_truncated_pixels_are_refused_by_sop_instance_uid(tmp_path: Path) -> None:
    for compressed in (False, True):
        noise = np.random.default_rng(0).integers(0, 4095, (32, 32), dtype=np.uint16)
        dataset = radiograph(noise, bits_stored=12)
        if compressed:
            dataset.compress(JPEGLSLossless, generate_instance_uid=False)
        (path,) = saved(tmp_path, dataset)
        path.write_bytes(path.read_bytes()[:-600])

        with pytest.raises(UnreadableImage) as refusal:
            read_radiograph(path)

        assert refusal.value.sop_instance_uid == dataset.SOPInstanceUID
        assert "decoded" in refusal.value.reason or "holds no image" in refusal.value.reason


def test_text_and_objects_without_pixels_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "letter.txt"
    text.write_text("Dear colleague")
    report = Path(str(get_testdata_file("test-SR.dcm", download=False)))

    for path, reason in ((text, "Part 10"), (report, "no image"), (tmp_path / "missing.dcm", "could not be read")):
        with pytest.raises(UnreadableImage, match=reason):
            read_radiograph(path)


def test_broken_look_up_table_is_refused(tmp_path: Path) -> None:
    lut = voi_lut(12)
    del lut.LUTData
    paths = saved(tmp_path, radiograph(RAMP, VOILUTSequence=[lut]))

    with pytest.raises(UnreadableImage, match="look-up table"):
        read_radiograph(*paths)


def test_real_radiographs_show_bone_bright_and_air_dark(shared_dicom: Path) -> None:
    for name in ("dx_pa_mono1_j2k_2128x2000.dcm", "gdcm-CR-MONO1-10-chest.dcm", "siim_pa_jpeg_1024.dcm"):
        pixels = read_radiograph(shared_dicom / "cxr" / name).pixels[0]
        rows, columns = pixels.shape

        below_diaphragm = pixels[int(rows * 0.8) :, int(columns * 0.4) : int(columns * 0.6)].mean()
        right_lung = pixels[int(rows * 0.3) : int(rows * 0.5), int(columns * 0.2) : int(columns * 0.35)].mean()
        assert below_diaphragm > right_lung + 0.15


def test_the_same_stored_pixels_under_the_other_polarity_are_the_negative(shared_dicom: Path) -> None:
    positive = read_radiograph(shared_dicom / "cxr" / "siim_pa_jpeg_1024.dcm").pixels
    negative = read_radiograph(shared_dicom / "cxr" / "siim_pa_jpeg_mono1_1024.dcm").pixels

    np.testing.assert_allclose(positive, 1 - negative, atol=1e-6)
