"""Memory that images take once decoded."""

from __future__ import annotations

import pytest
from pydicom import Dataset, uid

from dicom_node.studies.size import decoded_megabytes


def _header(**attributes: object) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = uid.CTImageStorage
    dataset.Rows = dataset.Columns = 512
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize(
    ("headers", "megabytes"),
    [
        ([_header()] * 400, 400),
        ([_header(SOPClassUID=uid.EnhancedCTImageStorage, NumberOfFrames=300)], 300),
        ([_header(SamplesPerPixel=3)] * 2, 6),
        ([_header(SOPClassUID=uid.VLWholeSlideMicroscopyImageStorage, NumberOfFrames=100_000)], 0),
        ([_header(Rows=None)], 0),
    ],
    ids=["slices", "frames", "colour", "a slide, read in parts", "unknown"],
)
def test_size_is_that_of_all_samples_as_float32(headers: list[Dataset], megabytes: int) -> None:
    assert decoded_megabytes(headers) == megabytes
