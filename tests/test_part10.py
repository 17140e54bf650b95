from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import DeflatedExplicitVRLittleEndian

from dicom_node.part10 import UnreadableHeader, _remembered, read_header
from tests.imaging.datasets import ct_slice, enhanced_ct, radiograph, saved
from tests.imaging.test_radiograph import RAMP


def test_header_is_read_without_pixels(tmp_path: Path) -> None:
    (path,) = saved(tmp_path, ct_slice(0.0))

    header = read_header(path)

    assert header.Rows == 4
    assert "PixelData" not in header


def test_attribute_that_cannot_be_converted_counts_as_missing(tmp_path: Path) -> None:
    (path,) = saved(tmp_path, radiograph(RAMP, SeriesNumber="1", WindowWidth="400"))
    path.write_bytes(path.read_bytes().replace(b"\x20\x00\x11\x00IS", b"\x20\x00\x11\x00I?"))

    header = read_header(path)

    assert "SeriesNumber" not in header
    assert header.WindowWidth == 400


def test_attributes_inside_sequences_are_checked_too(tmp_path: Path) -> None:
    (path,) = saved(tmp_path, enhanced_ct([ct_slice(0.0), ct_slice(3.0)]))
    path.write_bytes(path.read_bytes().replace(b"\x28\x00\x30\x00DS", b"\x28\x00\x30\x00DX"))

    header = read_header(path)

    assert "PixelSpacing" not in header.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert len(header.PerFrameFunctionalGroupsSequence) == 2


def test_values_that_break_their_vr_are_not_repeated_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    (path,) = saved(tmp_path, radiograph(RAMP, PatientBirthDate="19800101", SeriesNumber="1"))
    path.write_bytes(path.read_bytes().replace(b"19800101", b"1.1.1980").replace(b"IS\x02\x001 ", b"IS\x02\x00??"))

    header = read_header(path)

    assert header.Rows == 4
    assert caplog.text == ""
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize("content", [b"", b"Dear colleague"])
def test_what_is_no_part_10_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.dcm"
    path.write_bytes(content)

    with pytest.raises(UnreadableHeader, match="no DICOM Part 10 file"):
        read_header(path)


def test_deflated_file_that_is_damaged_is_refused(tmp_path: Path) -> None:
    dataset = radiograph(RAMP)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    (path,) = saved(tmp_path, dataset)
    path.write_bytes(path.read_bytes()[:-100] + b"\xff" * 100)

    with pytest.raises(UnreadableHeader, match="could not be read"):
        read_header(path)


def test_a_header_asked_for_twice_is_read_once(tmp_path: Path) -> None:
    (path,) = saved(tmp_path, ct_slice(0.0))

    assert read_header(path) is read_header(path)
    assert read_header(path, ["Rows"]) is read_header(path)


def test_a_file_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    (path,) = saved(tmp_path, ct_slice(0.0, PatientID="WRONG"))
    assert read_header(path).PatientID == "WRONG"

    (tmp_path / "again").mkdir()
    (corrected,) = saved(tmp_path / "again", ct_slice(0.0, PatientID="RIGHT"))
    corrected.replace(path)

    assert read_header(path).PatientID == "RIGHT"


def test_a_header_read_in_part_is_not_taken_for_the_whole(tmp_path: Path) -> None:
    (path,) = saved(tmp_path, ct_slice(0.0))
    assert "Columns" not in read_header(path, ["Rows"])

    assert read_header(path).Columns == 6


def test_the_same_bytes_in_another_character_set_are_read_as_that(tmp_path: Path) -> None:
    latin, greek = saved(
        tmp_path,
        radiograph(RAMP, SpecificCharacterSet="ISO_IR 100", SeriesDescription="ä"),
        radiograph(RAMP, SpecificCharacterSet="ISO_IR 126", SeriesDescription="δ"),
    )

    assert [read_header(path).SeriesDescription for path in (latin, greek)] == ["ä", "δ"]


def test_headers_of_a_series_share_what_is_equal_in_them(tmp_path: Path) -> None:
    first, second = (read_header(path) for path in saved(tmp_path, ct_slice(0.0), ct_slice(3.0)))

    assert first["PixelSpacing"] is second["PixelSpacing"]
    assert first.ImagePositionPatient != second.ImagePositionPatient


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "test-SR.dcm"])
def test_a_header_is_what_pydicom_reads(name: str) -> None:
    path = Path(str(get_testdata_file(name, download=False)))
    expected = dcmread(path, stop_before_pixels=True)

    for _ in range(2):
        _remembered.clear()
        assert read_header(path).to_json_dict() == expected.to_json_dict()
