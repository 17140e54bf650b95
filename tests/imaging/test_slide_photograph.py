from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import VLMicroscopicImageStorage

from dicom_node.imaging.stacks import read_stacks
from dicom_node.manifest import ImageKind
from tests.imaging.slides import picture, save


def field_of_view(path: Path, **attributes: object) -> Path:
    pixels = picture(60, 80)
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = VLMicroscopicImageStorage, "1.2.3.4"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = pixels.tobytes()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return save(dataset, path)


def test_microscopic_image_is_read_in_colour(tmp_path: Path) -> None:
    (stack,) = read_stacks(ImageKind.SLIDE, [field_of_view(tmp_path / "field.dcm")]).stacks

    assert stack.slide is None
    assert stack.colour is not None
    np.testing.assert_array_equal(stack.colour[0], picture(60, 80))
    assert stack.pixels.shape == (1, 60, 80)
    assert stack.pixels[0, 0, 0] == pytest.approx(245 / 255)


def test_image_without_colour_is_refused(tmp_path: Path) -> None:
    grey = field_of_view(tmp_path / "grey.dcm", SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2")

    read = read_stacks(ImageKind.SLIDE, [grey])

    assert read.stacks == ()
    assert "not in colour" in read.not_applicable[0]
