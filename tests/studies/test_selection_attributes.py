from __future__ import annotations

import pytest
from pydicom import Dataset

from dicom_node.studies.attributes import age_in_years, attribute


def code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodeMeaning = value, meaning
    return item


@pytest.mark.parametrize(
    ("text", "years"),
    [("036Y", 36), ("006M", 0.5), ("052W", 364 / 365.25), ("010D", 10 / 365.25), ("62", 62), ("", None), ("old", None)],
)
def test_ages_are_in_years(text: str, years: float | None) -> None:
    assert age_in_years(text) == (None if years is None else pytest.approx(years))


def test_missing_age_is_worked_out_from_birth_and_study_date() -> None:
    dataset = Dataset()
    dataset.PatientBirthDate, dataset.StudyDate = "20000615", "20240614"

    assert attribute(dataset, "PatientAge").numbers == (23,)


@pytest.mark.parametrize(("birth", "study"), [("", "20240101"), ("20250101", "20240101"), ("2000", "20240101")])
def test_age_stays_missing_where_dates_do_not_tell_it(birth: str, study: str) -> None:
    dataset = Dataset()
    dataset.add_new("PatientBirthDate", "LO", birth)
    dataset.StudyDate = study

    assert attribute(dataset, "PatientAge").values == ()


def test_values_are_trimmed_and_empty_ones_dropped() -> None:
    dataset = Dataset()
    dataset.ImageType = ["ORIGINAL ", "", "AXIAL"]
    dataset.SeriesDescription = ""

    assert attribute(dataset, "ImageType").values == ("ORIGINAL", "AXIAL")
    assert attribute(dataset, "SeriesDescription").values == ()


def test_codes_are_found_by_value_and_meaning() -> None:
    dataset = Dataset()
    dataset.AnatomicRegionSequence = [code("51185008", "Chest")]

    assert attribute(dataset, "AnatomicRegionSequence").values == ("51185008", "Chest")


def test_multi_frame_attributes_are_found_in_the_functional_groups() -> None:
    measures, position, shared, frame, dataset = (Dataset() for _ in range(5))
    measures.SliceThickness = 2.5
    position.ImagePositionPatient = [0, 0, 7]
    shared.PixelMeasuresSequence = [measures]
    frame.PlanePositionSequence = [position]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [frame]

    assert attribute(dataset, "SliceThickness").numbers == (2.5,)
    assert attribute(dataset, "ImagePositionPatient").numbers == (0, 0, 7)


def test_what_identifies_the_patient_is_not_shown() -> None:
    dataset = Dataset()
    dataset.PatientName, dataset.PatientID, dataset.PatientAge = "Doe^Jane", "4711", "036Y"

    assert attribute(dataset, "PatientName").shown == "another value"
    assert attribute(dataset, "PatientID").shown == "another value"
    assert attribute(dataset, "PatientAge").shown == "036Y"
