from __future__ import annotations

from pathlib import Path

import numpy as np

from dicom_node.imaging.stacks import read_stacks
from dicom_node.manifest import ImageKind
from tests.imaging.datasets import ct_slice, radiograph, saved

RAMP = np.arange(24, dtype=np.uint16).reshape(4, 6)


def test_ct_series_is_one_stack(tmp_path: Path) -> None:
    read = read_stacks(ImageKind.CT, saved(tmp_path, ct_slice(3.0), ct_slice(0.0)))

    assert [stack.pixels.shape for stack in read.stacks] == [(2, 4, 6)]
    assert (read.undecodable, read.not_applicable) == ((), ())


def test_each_radiograph_is_a_stack_of_its_own(tmp_path: Path) -> None:
    frontal, lateral = radiograph(RAMP), radiograph(RAMP.T.copy())

    read = read_stacks(ImageKind.RADIOGRAPH, saved(tmp_path, frontal, lateral))

    assert [stack.pixels.shape for stack in read.stacks] == [(1, 4, 6), (1, 6, 4)]
    assert [stack.planes[0].sop_instance_uid for stack in read.stacks] == [
        frontal.SOPInstanceUID,
        lateral.SOPInstanceUID,
    ]


def test_broken_and_unfit_radiographs_are_told_apart_and_the_rest_is_read(tmp_path: Path) -> None:
    broken = radiograph(RAMP)
    broken.PixelData = broken.PixelData[:10]
    cine = radiograph(np.stack([RAMP, RAMP]), NumberOfFrames=2)

    read = read_stacks(ImageKind.RADIOGRAPH, saved(tmp_path, broken, cine, radiograph(RAMP)))

    assert len(read.stacks) == 1
    assert len(read.undecodable) == 1
    assert broken.SOPInstanceUID in read.undecodable[0]
    assert read.not_applicable == ("The image has 2 frames; a radiograph has one.",)


def test_series_in_other_units_is_not_applicable(tmp_path: Path) -> None:
    read = read_stacks(ImageKind.CT, saved(tmp_path, ct_slice(0.0, RescaleType="US")))

    assert (read.stacks, read.undecodable) == ((), ())
    assert read.not_applicable == ("Rescale Type is US, needs to be HU (Hounsfield units).",)


def test_series_of_which_nothing_decodes_is_undecodable(tmp_path: Path) -> None:
    broken = ct_slice(0.0)
    broken.PixelData = broken.PixelData[:4]

    read = read_stacks(ImageKind.CT, saved(tmp_path, broken))

    assert (read.stacks, read.not_applicable) == ((), ())
    assert read.undecodable[0].startswith(f"Image {broken.SOPInstanceUID} was left out")


def test_many_images_with_one_reason_are_told_in_one_sentence(tmp_path: Path) -> None:
    slices = [ct_slice(float(z)) for z in range(12)]
    for one in slices:
        one.PixelData = one.PixelData[:4]

    (sentence,) = read_stacks(ImageKind.CT, saved(tmp_path, *slices)).undecodable

    assert sentence.startswith("12 images were left out")
    assert slices[0].SOPInstanceUID in sentence
    assert "and 2 more" in sentence
