from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    JPEGLSLossless,
    RLELossless,
)

from dicom_node.domain import ImageStack, NotApplicable
from dicom_node.imaging.ct_series import read_ct_series
from dicom_node.imaging.errors import UnreadableSeries
from tests.imaging.datasets import CORONAL, ct_slice, enhanced_ct, saved


def heights(stack: ImageStack) -> list[float]:
    return [plane.position[2] for plane in stack.planes if plane.position is not None]


def test_slices_are_ordered_along_the_normal_whatever_their_numbers(tmp_path: Path) -> None:
    positions = [0.0, 3.0, 6.0, 9.0, 12.0]
    slices = [ct_slice(z, InstanceNumber=number) for number, z in enumerate(reversed(positions), start=1)]
    random.Random(1).shuffle(slices)

    stack = read_ct_series(saved(tmp_path, *slices))

    assert heights(stack) == positions
    np.testing.assert_array_equal(stack.pixels[:, 0, 0], positions)
    assert [plane.sop_instance_uid for plane in stack.planes] == [
        one.SOPInstanceUID for one in sorted(slices, key=lambda one: one.ImagePositionPatient[2])
    ]
    assert stack.notes == ()


def test_order_follows_the_normal_of_a_mirrored_orientation(tmp_path: Path) -> None:
    mirrored = [-1.0, 0.0, 0.0, 0.0, 1.0, 0.0]  # its normal points to the feet
    slices = [ct_slice(z, ImageOrientationPatient=mirrored) for z in (0.0, 3.0, 6.0)]

    assert heights(read_ct_series(saved(tmp_path, *slices))) == [6.0, 3.0, 0.0]


def test_each_slice_has_its_own_rescale(tmp_path: Path) -> None:
    stored = np.full((4, 6), 100, dtype=np.uint16)
    slices = [ct_slice(z, stored, RescaleSlope=1 + z, RescaleIntercept=-z * 10) for z in (0.0, 1.0, 2.0)]

    stack = read_ct_series(saved(tmp_path, *slices))

    assert stack.hounsfield
    assert stack.pixels.dtype == np.float32
    assert stack.pixels[:, 0, 0].tolist() == [100, 190, 280]


def test_planes_carry_what_results_refer_to(tmp_path: Path) -> None:
    one = ct_slice(5.0, PixelSpacing=[0.8, 0.4])

    plane = read_ct_series(saved(tmp_path, one)).planes[0]

    assert (plane.sop_instance_uid, plane.sop_class_uid) == (one.SOPInstanceUID, one.SOPClassUID)
    assert (plane.rows, plane.columns, plane.frame_number) == (4, 6, None)
    assert (plane.position, plane.orientation) == ((-10.0, -20.0, 5.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    assert (plane.pixel_spacing, plane.pixel_aspect) == ((0.8, 0.4), 2.0)


def test_padding_and_what_lies_below_air_become_air(tmp_path: Path) -> None:
    stored = np.full((4, 6), 30, dtype=np.int16)
    stored[0] = -2000
    stored[1] = 3000
    stored[2, 0] = -1500
    one = ct_slice(0.0, stored, RescaleIntercept=0, PixelPaddingValue=3000)
    one["PixelPaddingValue"].VR = "SS"

    pixels = read_ct_series(saved(tmp_path, one)).pixels[0]

    assert np.all(pixels[:2] == -1024)
    assert pixels[2, 0] == -1024
    assert np.all(pixels[3] == 30)


def test_twelve_stored_bits_with_high_bits_set(tmp_path: Path) -> None:
    signed = ((np.full((4, 6), -24, dtype=np.int16)) & 0x0FFF).astype(np.int16)
    unsigned = np.full((4, 6), 1000 | 0xA000, dtype=np.uint16)
    slices = [
        ct_slice(0.0, signed, bits_stored=12, RescaleIntercept=0),
        ct_slice(3.0, unsigned, bits_stored=12),
    ]

    stack = read_ct_series(saved(tmp_path, *slices))

    assert stack.pixels[:, 0, 0].tolist() == [-24, -24]


def test_duplicates_are_left_out_keeping_the_first(tmp_path: Path) -> None:
    slices = [ct_slice(z, InstanceNumber=number) for number, z in enumerate((0.0, 3.0, 6.0))]
    again = ct_slice(3.01, InstanceNumber=9)

    stack = read_ct_series(saved(tmp_path, again, *slices))

    assert heights(stack) == [0.0, 3.0, 6.0]
    assert stack.planes[1].sop_instance_uid == slices[1].SOPInstanceUID
    assert stack.notes == ("1 image left out: same position as one that was read.",)


@pytest.mark.parametrize("offset", [0.0, 0.7])
def test_second_acquisition_of_the_same_part_is_left_out(tmp_path: Path, offset: float) -> None:
    arterial = [ct_slice(z, AcquisitionNumber=1) for z in (0.0, 3.0, 6.0, 9.0)]
    venous = [ct_slice(z + offset, AcquisitionNumber=2) for z in (-3.0, 0.0, 3.0, 6.0, 9.0)]

    stack = read_ct_series(saved(tmp_path, *arterial, *venous))

    assert heights(stack) == pytest.approx([z + offset for z in (-3.0, 0.0, 3.0, 6.0, 9.0)])
    assert len(stack.notes) == 1
    assert "4 images left out: another acquisition" in stack.notes[0]


def test_two_kernels_in_one_series_are_not_mixed(tmp_path: Path) -> None:
    soft = [ct_slice(z, ConvolutionKernel="B30f") for z in (0.0, 3.0, 6.0)]
    sharp = [ct_slice(z, ConvolutionKernel="B70f") for z in (0.0, 3.0)]

    stack = read_ct_series(saved(tmp_path, *sharp, *soft))

    assert {plane.sop_instance_uid for plane in stack.planes} == {one.SOPInstanceUID for one in soft}


def test_acquisitions_that_follow_one_another_are_one_stack(tmp_path: Path) -> None:
    slices = [ct_slice(3.0 * number, AcquisitionNumber=1 + number // 3) for number in range(9)]
    step_and_shoot = [ct_slice(3.0 * number, AcquisitionNumber=number) for number in range(9, 12)]

    stack = read_ct_series(saved(tmp_path, *slices, *step_and_shoot))

    assert len(stack.planes) == 12
    assert stack.notes == ()


def test_gap_is_told_in_millimetres(tmp_path: Path) -> None:
    stack = read_ct_series(saved(tmp_path, *(ct_slice(z) for z in (0.0, 3.0, 6.0, 15.0, 18.0))))

    assert len(stack.planes) == 5
    assert "9.0 mm" in stack.notes[0]
    assert "3.0 mm apart" in stack.notes[0]


def test_gantry_tilt_is_refused(tmp_path: Path) -> None:
    cosine, sine = float(np.cos(np.radians(15))), float(np.sin(np.radians(15)))
    tilted = [1.0, 0.0, 0.0, 0.0, cosine, sine]

    with pytest.raises(NotApplicable, match="tilted by 15 degrees"):
        read_ct_series(saved(tmp_path, *(ct_slice(z, ImageOrientationPatient=tilted) for z in (0.0, 3.0, 6.0))))


def test_an_oblique_stack_that_is_not_tilted_is_read(tmp_path: Path) -> None:
    cosine, sine = float(np.cos(np.radians(15))), float(np.sin(np.radians(15)))
    slices = [
        ct_slice(
            0.0,
            ImageOrientationPatient=[1.0, 0.0, 0.0, 0.0, cosine, sine],
            ImagePositionPatient=[0.0, -sine * step, cosine * step],
        )
        for step in (6.0, 0.0, 3.0)
    ]

    assert len(read_ct_series(saved(tmp_path, *slices)).planes) == 3


def test_mixed_orientations_are_refused_by_name(tmp_path: Path) -> None:
    slices = [ct_slice(0.0), ct_slice(3.0), ct_slice(0.0, ImageOrientationPatient=list(CORONAL))]

    with pytest.raises(NotApplicable, match="2 axial, 1 coronal"):
        read_ct_series(saved(tmp_path, *slices))


def test_localizer_among_the_slices_is_left_out(tmp_path: Path) -> None:
    scout = ct_slice(
        0.0, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], ImageOrientationPatient=list(CORONAL), RescaleType="US"
    )

    stack = read_ct_series(saved(tmp_path, scout, ct_slice(0.0), ct_slice(3.0)))

    assert len(stack.planes) == 2
    assert stack.notes == ("1 image left out: localizer.",)


def test_images_of_another_size_or_spacing_are_left_out(tmp_path: Path) -> None:
    other_size = ct_slice(9.0, np.zeros((8, 8), dtype=np.uint16))
    other_spacing = ct_slice(12.0, PixelSpacing=[0.9, 0.9])

    stack = read_ct_series(saved(tmp_path, other_size, other_spacing, ct_slice(0.0), ct_slice(3.0)))

    assert heights(stack) == [0.0, 3.0]
    assert "2 images left out: other size or pixel spacing" in stack.notes[0]


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"RescaleType": "US"}, "Rescale Type is US"),
        ({"RescaleSlope": None}, "missing"),
        ({"ImageType": ["DERIVED", "PRIMARY", "PERFUSION"]}, "perfusion"),
        ({"ImagePositionPatient": None}, "placed"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "placed"),
    ],
)
def test_what_is_no_stack_in_hounsfield_units_is_refused(
    tmp_path: Path, attributes: dict[str, object], words: str
) -> None:
    with pytest.raises(NotApplicable, match=words):
        read_ct_series(saved(tmp_path, ct_slice(0.0, **attributes), ct_slice(3.0, **attributes)))


def test_undecodable_slice_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    slices = [ct_slice(z, np.full((16, 16), int(z), dtype=np.uint16)) for z in (0.0, 3.0, 6.0, 9.0)]
    slices[2].compress(RLELossless, generate_instance_uid=False)
    slices[2].PixelData = slices[2].PixelData[:-40] + b"\0" * 40
    paths = saved(tmp_path, *slices)
    (tmp_path / "note.txt").write_text("not an image")

    stack = read_ct_series([*paths, tmp_path / "note.txt"])

    assert heights(stack) == [0.0, 3.0, 9.0]
    np.testing.assert_array_equal(stack.pixels[:, 0, 0], [-1024, -1021, -1015])
    notes = " ".join(stack.notes)
    assert f"Image {slices[2].SOPInstanceUID} was left out: it could not be decoded" in notes
    assert "Image note.txt was left out: it is no DICOM Part 10 file." in notes
    assert "A gap" in notes


def test_nothing_decodable_is_an_error_of_its_own(tmp_path: Path) -> None:
    one = ct_slice(0.0)
    one.PixelData = one.PixelData[:-8]

    with pytest.raises(UnreadableSeries, match=one.SOPInstanceUID):
        read_ct_series(saved(tmp_path, one))
    with pytest.raises(NotApplicable, match="no images"):
        read_ct_series([])


def phantom(count: int = 4) -> list[Dataset]:
    generator = np.random.default_rng(3)
    return [
        ct_slice(3.0 * number, generator.integers(0, 4095, (32, 32), dtype=np.uint16), bits_stored=12)
        for number in range(count)
    ]


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLSLossless, DeflatedExplicitVRLittleEndian])
def test_enhanced_multi_frame_equals_classic(tmp_path: Path, syntax: str | None) -> None:
    slices = phantom()
    enhanced = enhanced_ct(slices[::-1])
    if syntax == DeflatedExplicitVRLittleEndian:
        enhanced.file_meta.TransferSyntaxUID = syntax
    elif syntax is not None:
        enhanced.compress(syntax, generate_instance_uid=False)

    classic = read_ct_series(saved(tmp_path, *slices))
    multi_frame = read_ct_series(saved(tmp_path, enhanced))

    np.testing.assert_array_equal(multi_frame.pixels, classic.pixels)
    assert [plane.frame_number for plane in multi_frame.planes] == [4, 3, 2, 1]
    assert {plane.sop_instance_uid for plane in multi_frame.planes} == {enhanced.SOPInstanceUID}
    assert {plane.sop_class_uid for plane in multi_frame.planes} == {EnhancedCTImageStorage}
    assert [(p.position, p.orientation, p.pixel_spacing) for p in multi_frame.planes] == [
        (p.position, p.orientation, p.pixel_spacing) for p in classic.planes
    ]


def test_real_series_as_enhanced_multi_frame_equals_classic(tmp_path: Path, shared_dicom: Path) -> None:
    paths = sorted((shared_dicom / "ct_kidney").iterdir())
    enhanced = enhanced_ct([dcmread(path) for path in paths])

    classic, multi_frame = read_ct_series(paths), read_ct_series(saved(tmp_path, enhanced))

    np.testing.assert_array_equal(multi_frame.pixels, classic.pixels)
    assert heights(multi_frame) == heights(classic)


def test_concatenated_enhanced_objects_are_one_stack(tmp_path: Path) -> None:
    slices = phantom(6)

    parts = read_ct_series(saved(tmp_path, enhanced_ct(slices[3:]), enhanced_ct(slices[:3])))

    np.testing.assert_array_equal(parts.pixels, read_ct_series(saved(tmp_path, *slices)).pixels)


def test_enhanced_map_is_refused(tmp_path: Path) -> None:
    enhanced = enhanced_ct(phantom())
    for groups in enhanced.PerFrameFunctionalGroupsSequence:
        groups.CTImageFrameTypeSequence[0].FrameType = ["DERIVED", "PRIMARY", "VOLUME", "QUANTITY"]

    with pytest.raises(NotApplicable, match="computed map"):
        read_ct_series(saved(tmp_path, enhanced))


def test_multi_frame_without_functional_groups_is_refused(tmp_path: Path) -> None:
    enhanced = enhanced_ct(phantom())
    del enhanced.PerFrameFunctionalGroupsSequence

    with pytest.raises(UnreadableSeries, match="functional groups"):
        read_ct_series(saved(tmp_path, enhanced))


def test_real_enhanced_perfusion_maps_are_refused(shared_dicom: Path) -> None:
    for path in sorted((shared_dicom / "enhanced_ct").iterdir()):
        with pytest.raises(NotApplicable, match="perfusion"):
            read_ct_series([path])


def test_five_compressed_syntaxes_give_the_same_pixels(shared_dicom: Path) -> None:
    stacks = {
        path.stem: read_ct_series([path]).pixels for path in sorted((shared_dicom / "ct_transfer_syntaxes").iterdir())
    }
    lossy = stacks.pop("CT1_J2KI")
    reference = stacks.pop("CT1_RLE")

    assert sorted(stacks) == ["CT1_J2KR", "CT1_JLSL", "CT1_JPLL"]
    for pixels in stacks.values():
        np.testing.assert_array_equal(pixels, reference)
    # This file is compressed 69:1: it keeps the mean, and differs by 22 HU on average and 208 HU in one of 1000 pixels.
    difference = lossy - reference
    assert abs(difference.mean()) < 1
    assert np.abs(difference).mean() < 25
    assert np.percentile(np.abs(difference), 99.9) < 210
    assert np.corrcoef(lossy.ravel(), reference.ravel())[0, 1] > 0.997


def test_real_series_are_read_whole(shared_dicom: Path) -> None:
    for name, count, spacing in (("ct_chest", 98, 1.0), ("ct_kidney", 18, 2.5)):
        paths = list((shared_dicom / name).iterdir())
        random.Random(0).shuffle(paths)

        stack = read_ct_series(paths)

        assert stack.pixels.shape == (count, 512, 512)
        assert stack.notes == ()
        np.testing.assert_allclose(np.diff(heights(stack)), spacing, atol=1e-3)
        middle = dcmread(next(p for p in paths if dcmread(p, stop_before_pixels=True).InstanceNumber == count // 2))
        index = heights(stack).index(float(middle.ImagePositionPatient[2]))
        expected = np.maximum(middle.pixel_array * float(middle.RescaleSlope) + float(middle.RescaleIntercept), -1024)
        np.testing.assert_array_equal(stack.pixels[index], expected)


def test_signed_jpeg_2000_with_unsigned_codestream() -> None:
    stack = read_ct_series([Path(str(get_testdata_file("J2K_pixelrep_mismatch.dcm", download=False)))])

    assert stack.pixels.min() >= -1024
    assert -150 < np.median(stack.pixels[0, 240:272, 240:272]) < 1500
