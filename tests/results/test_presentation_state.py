from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from dicom_node.results.presentation_state import label_box
from tests.results import cases


def test_every_region_is_drawn_on_its_image_and_the_window_left_alone() -> None:
    stack, sources = cases.ct(5)
    finding = cases.finding(stack, key_indices=(2, 3))
    (made,) = cases.built(stack, sources, finding, kinds=("PR",))
    for annotation, key in zip(made.GraphicAnnotationSequence, finding.key_images, strict=True):
        (graphic,) = annotation.GraphicObjectSequence
        np.testing.assert_allclose(np.array(graphic.GraphicData).reshape(-1, 2), key.region, atol=1e-4)
        (image,) = annotation.ReferencedImageSequence
        assert image.ReferencedSOPInstanceUID == sources[key.index].SOPInstanceUID
    assert "SoftcopyVOILUTSequence" not in made
    assert made.PresentationLUTShape == "IDENTITY"


def test_label_says_finding_probability_and_that_nobody_verified_it() -> None:
    stack, sources = cases.radiograph()
    (made,) = cases.built(stack, sources, cases.finding(stack, probability=0.93), kinds=("PR",))
    assert made.GraphicAnnotationSequence[0].TextObjectSequence[0].UnformattedTextValue.split("\r\n") == [
        "Kidney tumor: present",
        "probability 93 % (threshold 40 %, screening)",
        "AI result, not verified by a physician",
    ]


@pytest.mark.parametrize(("row", "column"), [(2, 2), (2, 61), (61, 2), (61, 61), (32, 63), (32, 32)])
def test_label_lies_within_the_image_wherever_the_region_is(row: int, column: int) -> None:
    stack, _ = cases.ct()
    finding = cases.finding(stack, heat_maps=[cases.heat(64, 64, row, column)])
    assert finding.region is not None
    left, top, right, bottom = label_box(stack.planes[3], finding.region, [])
    assert left >= 0
    assert top >= 0
    assert right <= 64
    assert bottom <= 64


def test_labels_on_one_image_do_not_lie_on_one_another() -> None:
    stack, sources = cases.ct()
    findings = [cases.finding(stack, name, 0.9) for name in cases.LABELS]
    (made,) = cases.built(stack, sources, *findings, kinds=("PR",))
    texts = [annotation.TextObjectSequence[0] for annotation in made.GraphicAnnotationSequence]
    edges = sorted((text.BoundingBoxTopLeftHandCorner[1], text.BoundingBoxBottomRightHandCorner[1]) for text in texts)
    assert len(edges) == 3
    assert all(above[1] <= below[0] for above, below in pairwise(edges))
    assert len(made.DisplayedAreaSelectionSequence) == 1


def test_a_region_that_fills_the_image_has_its_label_within() -> None:
    stack, _ = cases.ct()
    whole = ((0.0, 0.0), (64.0, 0.0), (64.0, 64.0), (0.0, 64.0), (0.0, 0.0))
    assert label_box(stack.planes[0], whole, [])[1] == 0


def test_inverted_radiograph_keeps_its_polarity() -> None:
    stack, sources = cases.radiograph(PhotometricInterpretation="MONOCHROME1")
    (made,) = cases.built(stack, sources, cases.finding(stack), kinds=("PR",))
    assert made.PresentationLUTShape == "INVERSE"


def test_colour_images_have_none() -> None:
    stack, sources = cases.radiograph(PhotometricInterpretation="RGB")
    assert cases.built(stack, sources, cases.finding(stack), kinds=("PR",)) == []
