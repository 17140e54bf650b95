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
from dicom_node.results.secondary_capture import pages_of
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


def frames(made: Dataset) -> list[npt.NDArray[np.uint8]]:
    return list(made.pixel_array.reshape(-1, page.HEIGHT, page.WIDTH, 3))


def right_panel(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return pixels[page.PANEL_TOP : page.PANEL_TOP + page.PANEL, page.WIDTH // 2 :]


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


def test_key_slices_of_a_ct_are_frames_of_one_object_each_with_its_heat_beside() -> None:
    stack, sources = cases.ct()
    heat_maps = [cases.heat(64, 64, 20 + 5 * place, 30) for place in range(4)]
    made = capture(stack, sources, cases.finding(stack, key_indices=(3, 2, 4, 1), heat_maps=heat_maps))
    assert made.SOPClassUID == MULTI_FRAME_TRUE_COLOR
    assert made.NumberOfFrames == 4
    assert list(made.PageNumberVector) == [1, 2, 3, 4]
    shown = {item.ReferencedSOPInstanceUID for item in made.SourceImageSequence}
    assert shown == {stack.planes[index].sop_instance_uid for index in (1, 2, 3, 4)}
    heights = [
        float(np.argwhere(np.all(right_panel(frame) == CYAN, axis=-1)).mean(axis=0)[0]) for frame in frames(made)
    ]
    assert heights == sorted(heights)
    assert heights[-1] - heights[0] == pytest.approx(15 * page.PANEL / 64, rel=0.1)


def test_negative_ct_is_told_on_one_page() -> None:
    stack, sources = cases.ct()
    made = capture(stack, sources, cases.finding(stack, probability=0.03, key_indices=(3, 2, 4)))
    assert made.SOPClassUID == SINGLE_FRAME


def many_findings(stack: ImageStack, count: int, *key_indices: int) -> list[Finding]:
    finding = cases.finding(stack, key_indices=key_indices)
    return [replace(finding, number=number, probability=0.95 - 0.01 * number) for number in range(1, count + 1)]


def test_pages_are_limited_and_the_last_one_says_what_is_left_out() -> None:
    stack, sources = cases.ct(40)
    made = capture(stack, sources, cases.finding(stack, key_indices=tuple(range(40))))
    assert made.NumberOfFrames == 13
    assert has(right_panel(frames(made)[-2]), CYAN)
    assert not has(right_panel(frames(made)[-1]), CYAN)


def test_where_pages_are_short_every_finding_keeps_its_key_image() -> None:
    stack, sources = cases.ct(10)
    request = cases.request(stack, sources, *many_findings(stack, 5, 3, 2, 4))
    told = [shown.finding.number for shown in pages_of(request)[:-1]]
    assert sorted(set(told)) == [1, 2, 3, 4, 5]
    assert told == sorted(told)
    assert len(told) == 12


@pytest.mark.parametrize("count", [1, 5])
def test_findings_that_fit_under_the_images_need_no_list(count: int) -> None:
    stack, sources = cases.radiograph()
    assert len(pages_of(cases.request(stack, sources, *many_findings(stack, count, 0)))) == count


@pytest.mark.parametrize("count", [6, 40])
def test_more_findings_are_all_named_on_the_last_pages(count: int) -> None:
    stack, sources = cases.radiograph()
    findings = [
        replace(finding, label=f"Finding {finding.number}", evaluation=Evaluation.ABSENT)
        for finding in many_findings(stack, count, 0)
    ]
    first, *lists = pages_of(cases.request(stack, sources, *findings))
    assert isinstance(first.left, page.Panel)
    lines = [line for shown in lists for column in (shown.left, shown.right) for line in lines_of(column)]
    assert [line.split(":")[0] for line in lines] == [f"Finding {number}" for number in range(1, count + 1)]


def lines_of(content: page.Panel | page.Statement) -> tuple[str, ...]:
    assert isinstance(content, page.Statement)
    return content.lines


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
