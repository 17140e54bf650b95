from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom import Dataset

from dicom_node.domain import Evaluation, Finding, ImageStack
from dicom_node.results import page
from dicom_node.results.file import encode
from dicom_node.results.placement import letters_of, stack_ends
from tests.results import cases

SINGLE_FRAME = "1.2.840.10008.5.1.4.1.1.7"
MULTI_FRAME_TRUE_COLOR = "1.2.840.10008.5.1.4.1.1.7.4"
AMBER, GREEN, CYAN = (
    page.EVALUATION_COLOURS[Evaluation.PRESENT],
    page.EVALUATION_COLOURS[Evaluation.ABSENT],
    page.REGION,
)


def capture(stack: ImageStack, sources: list[Dataset], *findings: Finding) -> Dataset:
    (made,) = cases.built(stack, sources, *findings, kinds=("SC",))
    return pydicom.dcmread(BytesIO(encode(made)))


def has(pixels: npt.NDArray[np.uint8], colour: tuple[int, int, int]) -> bool:
    return bool(np.any(np.all(pixels == colour, axis=-1)))


def test_radiograph_gives_one_uncompressed_colour_page() -> None:
    stack, sources = cases.radiograph()
    made = capture(stack, sources, cases.finding(stack))
    assert made.SOPClassUID == SINGLE_FRAME
    assert made.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert (made.PhotometricInterpretation, made.PlanarConfiguration, made.BitsStored) == ("RGB", 0, 8)
    assert made.pixel_array.shape == (page.HEIGHT, page.WIDTH, 3)
    assert made.BurnedInAnnotation == "YES"
    assert made.ImageType == ["DERIVED", "SECONDARY"]


def test_key_slices_of_a_ct_are_frames_of_one_object() -> None:
    stack, sources = cases.ct()
    made = capture(stack, sources, cases.finding(stack, key_indices=(3, 2, 4, 1)))
    assert made.SOPClassUID == MULTI_FRAME_TRUE_COLOR
    # The key image has a page of its own; the other three follow two by two.
    assert made.NumberOfFrames == 3
    assert list(made.PageNumberVector) == [1, 2, 3]
    shown = {item.ReferencedSOPInstanceUID for item in made.SourceImageSequence}
    assert shown == {stack.planes[index].sop_instance_uid for index in (1, 2, 3, 4)}


def test_pages_are_limited() -> None:
    stack, sources = cases.ct(40)
    made = capture(stack, sources, cases.finding(stack, key_indices=tuple(range(40))))
    assert made.NumberOfFrames == 12


def test_no_name_is_burned_in() -> None:
    stack, sources = cases.radiograph(PatientName="Doe^Jane", PatientID="P1")
    _, others = cases.radiograph(PatientName="Somebody^Else", PatientID="P2", PatientBirthDate="20010101")
    first = capture(stack, sources, cases.finding(stack))
    second = capture(stack, others, cases.finding(stack))
    np.testing.assert_array_equal(first.pixel_array, second.pixel_array)


def test_present_finding_shows_its_region_and_its_colour() -> None:
    stack, sources = cases.radiograph()
    pixels = capture(stack, sources, cases.finding(stack)).pixel_array
    assert has(pixels, page.REGION)
    assert has(pixels[:100], AMBER)
    assert not has(pixels[:100], GREEN)


def test_negative_study_is_told_by_colour_and_words() -> None:
    stack, sources = cases.radiograph()
    made = capture(stack, sources, cases.finding(stack, probability=0.03))
    assert has(made.pixel_array[:100], GREEN)
    assert not has(made.pixel_array, AMBER)
    assert "Kidney tumor: absent, probability 3 %" in made.ImageComments


def test_most_important_finding_leads() -> None:
    stack, sources = cases.ct()
    findings = [
        cases.finding(stack, "cyst", 0.1),
        cases.finding(stack, "stone", 0.5),
        cases.finding(stack, "tumor", 0.9),
    ]
    made = capture(stack, sources, *findings)
    assert made.NumberOfFrames == 2
    assert made.ImageComments.startswith("Kidney tumor: present")


def test_heat_is_shown_beside_the_untouched_key_image() -> None:
    stack, sources = cases.radiograph()
    pixels = capture(stack, sources, cases.finding(stack)).pixel_array.astype(int)
    body = pixels[page.PANEL_TOP + 60 : page.PANEL_TOP + page.PANEL - 60]
    left, right = body[:, page.MARGIN + 90 : page.MARGIN + page.PANEL - 90], body[:, page.WIDTH // 2 + 90 : -90]
    assert np.ptp(left, axis=-1).max() == 0
    assert np.ptp(right, axis=-1).max() > 50


@pytest.mark.parametrize(("spacing", "proportion"), [((0.8, 0.8), 1.0), ((1.6, 0.8), 0.5), ((0.5, 1.0), 2.0)])
def test_pixels_keep_their_true_shape(spacing: tuple[float, float], proportion: float) -> None:
    stack, sources = cases.ct(spacing=spacing)
    bright = replace(stack, pixels=np.full_like(stack.pixels, 3000))
    pixels = capture(bright, sources, cases.finding(stack, probability=0.1)).pixel_array
    panel = pixels[page.PANEL_TOP : page.PANEL_TOP + page.PANEL, page.MARGIN : page.MARGIN + page.PANEL, 0] == 255
    height, width = panel.any(axis=1).sum(), panel.any(axis=0).sum()
    assert width / height == pytest.approx(proportion, rel=0.02)


def test_text_is_legible_at_512_lines() -> None:
    assert min(page.SMALL, page.BODY, page.HEADLINE) * 512 / page.HEIGHT >= 12


@pytest.mark.parametrize(
    ("orientation", "letters"),
    [
        ((1, 0, 0, 0, 1, 0), ("R", "L", "A", "P")),
        ((-1, 0, 0, 0, 1, 0), ("L", "R", "A", "P")),
        ((0, 1, 0, 0, 0, -1), ("A", "P", "H", "F")),
        ((1, 0, 0, 0, 0, -1), ("R", "L", "H", "F")),
    ],
)
def test_edges_are_lettered_by_the_plane(orientation: tuple[float, ...], letters: tuple[str, ...]) -> None:
    stack, sources = cases.ct(orientation=orientation)
    assert letters_of(stack.planes[0], sources[0]) == letters


def test_edges_of_a_radiograph_are_lettered_as_it_says_or_not_at_all() -> None:
    stack, (source,) = cases.radiograph(PatientOrientation=["R", "F"])
    assert letters_of(stack.planes[0], source) == ("L", "R", "H", "F")
    source.PatientOrientation = None
    assert letters_of(stack.planes[0], source) is None


def test_the_strip_says_which_end_is_which() -> None:
    assert stack_ends(cases.ct()[0]) == ("F", "H")
    assert stack_ends(cases.ct(orientation=(-1, 0, 0, 0, 1, 0))[0]) == ("H", "F")
    assert stack_ends(cases.radiograph()[0]) is None


def test_the_strip_is_drawn_for_stacks_only() -> None:
    ct_stack, ct_sources = cases.ct()
    strip = (slice(page.PANEL_TOP + page.PANEL + 10, page.HEIGHT - 80), slice(page.WIDTH // 2, page.WIDTH))
    assert has(capture(ct_stack, ct_sources, cases.finding(ct_stack)).pixel_array[strip], AMBER)
    stack, sources = cases.radiograph()
    assert not has(capture(stack, sources, cases.finding(stack)).pixel_array[strip], AMBER)
