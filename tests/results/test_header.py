from __future__ import annotations

import copy
from io import BytesIO

import pydicom
import pytest
from pydicom import Dataset

from dicom_node.results.file import encode
from dicom_node.results.header import patient_and_study
from tests.results import cases


def written(dataset: Dataset) -> Dataset:
    return pydicom.dcmread(BytesIO(encode(dataset)))


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("ISO_IR 100", "Müller^Jürgen"),
        ("ISO_IR 192", "山田^太郎"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ],
)
def test_names_survive_in_the_character_set_of_the_study(character_set: str | list[str], name: str) -> None:
    stack, sources = cases.ct(SpecificCharacterSet=character_set, PatientName=name)
    for made in cases.built(stack, sources, cases.finding(stack), kinds=("SR", "SC", "PR", "PM", "SEG")):
        result = written(made)
        assert result.SpecificCharacterSet == character_set
        assert str(result.PatientName) == name


def test_text_that_the_study_could_not_hold_turns_the_object_to_unicode() -> None:
    stack, sources = cases.ct(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jürgen")
    finding = cases.finding(stack, label="腎腫瘍")
    (report,) = cases.built(stack, sources, finding)
    result = written(report)
    assert result.SpecificCharacterSet == "ISO_IR 192"
    assert str(result.PatientName) == "Müller^Jürgen"
    assert result.SeriesDescription == "AI: 93 % 腎腫瘍, present"


def test_a_study_without_character_set_keeps_none() -> None:
    stack, sources = cases.ct()
    for source in sources:
        del source.SpecificCharacterSet
    (report,) = cases.built(stack, sources, cases.finding(stack))
    assert "SpecificCharacterSet" not in report


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_values_that_break_their_representation_are_left_empty() -> None:
    source = cases.header("1.2", 1, PatientBirthDate="d14a028c", PatientSex="X", PatientAge="62")
    source["AccessionNumber"].value = "A" * 17
    result = patient_and_study(source)
    assert not result.PatientBirthDate
    assert not result.PatientSex
    assert not result.AccessionNumber
    assert "PatientAge" not in result
    assert result.PatientID == "P1"


def test_missing_patient_and_study_attributes_are_present_and_empty() -> None:
    stack, sources = cases.ct()
    for source in sources:
        for keyword in ("PatientName", "PatientBirthDate", "StudyID", "AccessionNumber", "StudyDate", "StudyTime"):
            delattr(source, keyword)
    for made in cases.built(stack, sources, cases.finding(stack), kinds=("SR", "SC", "PR", "PM", "SEG")):
        assert made["PatientName"].is_empty
        assert made["StudyDate"].is_empty


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_sources_are_left_as_they_were() -> None:
    stack, sources = cases.ct(PatientSex="unknown", PatientAge="62")
    before = copy.deepcopy(sources)
    cases.built(stack, sources, cases.finding(stack), kinds=("SR", "SC", "PR", "PM", "SEG"))
    assert sources == before


@pytest.mark.parametrize(("offset", "time"), [("-0500", "101617"), ("+0530", "204617"), ("nonsense", "151617")])
def test_times_are_told_at_the_offset_that_rules_the_study(offset: str, time: str) -> None:
    stack, sources = cases.ct(TimezoneOffsetFromUTC=offset)
    for made in cases.built(stack, sources, cases.finding(stack), kinds=("SR", "SC")):
        assert made.ContentTime == time


def test_every_object_names_the_node_and_the_model() -> None:
    stack, sources = cases.ct()
    for made in cases.built(stack, sources, cases.finding(stack), kinds=("SR", "SC", "PR", "PM", "SEG")):
        assert made.Manufacturer == "dicom-node"
        assert made.ManufacturerModelName == "kidney_ct"
        assert "kidney_ct 1.2.3" in made.SoftwareVersions
        (equipment,) = made.ContributingEquipmentSequence
        assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
        assert equipment.DeviceSerialNumber == "ab" * 32


def test_the_same_request_makes_the_same_bytes() -> None:
    stack, sources = cases.ct()
    kinds = ("SR", "SC", "PR", "PM", "SEG")
    first = [encode(made) for made in cases.built(stack, sources, cases.finding(stack), kinds=kinds)]
    second = [encode(made) for made in cases.built(stack, sources, cases.finding(stack), kinds=kinds)]
    assert first == second


@pytest.mark.filterwarnings("error")
def test_no_name_is_repeated_in_logs_or_warnings(caplog: pytest.LogCaptureFixture) -> None:
    stack, sources = cases.ct(PatientName="Rumpelstilz")
    cases.built(stack, sources, cases.finding(stack), kinds=("SR", "SC", "PR", "PM", "SEG"))
    assert "Rumpelstilz" not in caplog.text
