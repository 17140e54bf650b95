from __future__ import annotations

from pydicom.dataset import Dataset

from benchmarks.studies import renamed

UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


def test_a_study_is_sent_under_new_uids_and_stays_as_it_was(phantom_chest_ct: list[Dataset]) -> None:
    before = [[image[keyword].value for keyword in UIDS] for image in phantom_chest_ct]

    first, second = renamed(phantom_chest_ct), renamed(phantom_chest_ct)

    assert [[image[keyword].value for keyword in UIDS] for image in phantom_chest_ct] == before
    for keyword in UIDS:
        assert {image[keyword].value for image in first}.isdisjoint({image[keyword].value for image in second})
    assert len({image.StudyInstanceUID for image in first}) == 1
    assert len({image.SOPInstanceUID for image in first}) == len(phantom_chest_ct)
    assert all(image.file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID for image in (*first, *second))
    assert first[0].PixelData is phantom_chest_ct[0].PixelData
