"""The header read in one pass: the same values as pydicom's, in every encoding, and whole or refused."""

from __future__ import annotations

import os
import socket
import struct
import tracemalloc
import zlib

import pydicom
import pytest
from pydicom import Dataset, Sequence, uid

from dicom_node.archive.header import read_header
from dicom_node.receive.refusal import Reason, Refused

from .conftest import ArchiveUnderTest, FileMaker

SYNTAXES = [
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("name", ["Doe^Jane", "Müller^Jürgen"])
def test_the_values_are_those_that_were_written(make_file: FileMaker, syntax: uid.UID, name: str) -> None:
    item = Dataset()
    item.StudyInstanceUID, item.PatientName = "9.9.9", "Not^Me"
    path = make_file(
        syntax,
        SpecificCharacterSet="ISO_IR 100",
        PatientName=name,
        StudyDescription="Thorax nativ ",
        SeriesNumber=7,
        ReferencedStudySequence=Sequence([item, Dataset()]),
    )

    header = read_header(path)

    assert (header.patient_name, header.study_description, header.series_number) == (name, "Thorax nativ", 7)
    assert (header.study_instance_uid, header.modality, header.accession_number) == ("1.2.3", "CT", "A1")
    assert header.transfer_syntax_uid == syntax
    assert header.analysable


def test_a_name_in_several_character_sets_is_decoded(make_file: FileMaker) -> None:
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"  # PS3.5 H.3.1

    path = make_file(SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName=name)

    assert read_header(path).patient_name == name


def test_an_unknown_sequence_of_undefined_length_is_followed_in_implicit_vr(make_file: FileMaker) -> None:
    path = make_file()
    content = path.read_bytes()
    item = struct.pack("<HHL", 0x0009, 0x1001, 4) + b"ABCD"
    unknown = struct.pack("<HH2sHL", 0x0009, 0x1010, b"UN", 0, 0xFFFFFFFF)
    unknown += struct.pack("<HHL", 0xFFFE, 0xE000, len(item)) + item + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    before = content.index(struct.pack("<HH", 0x0010, 0x0010) + b"PN")
    path.write_bytes(content[:before] + unknown + content[before:])

    assert read_header(path).patient_name == "Doe^Jane"


def test_a_sender_that_encodes_other_than_it_negotiated_is_read_like_pydicom_reads_it(make_file: FileMaker) -> None:
    path = make_file(uid.ImplicitVRLittleEndian)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    pydicom.dcmwrite(path, dataset, implicit_vr=True, little_endian=True, force_encoding=True)

    assert read_header(path).patient_name == "Doe^Jane"


def test_a_series_number_that_is_none_counts_as_missing(make_file: FileMaker) -> None:
    path = make_file(SeriesNumber=7)
    path.write_bytes(path.read_bytes().replace(b"IS\x02\x007 ", b"IS\x02\x00x "))

    assert read_header(path).series_number is None


def test_a_deflated_bomb_is_refused_in_little_memory(make_file: FileMaker) -> None:
    path = make_file(uid.DeflatedExplicitVRLittleEndian)
    content = path.read_bytes()
    start = 144 + struct.unpack_from("<L", content, 140)[0]
    inflated = zlib.decompress(content[start:], -zlib.MAX_WBITS)
    bomb = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    megabytes = 200
    body = bomb.compress(inflated + struct.pack("<HH2sHL", 0x7FE1, 0x1010, b"OB", 0, megabytes << 20))
    body += b"".join(bomb.compress(bytes(1 << 20)) for _ in range(megabytes)) + bomb.flush()
    path.write_bytes(content[:start] + body)

    tracemalloc.start()
    with pytest.raises(Refused, match="inflates to more than 64 MB"):
        read_header(path, largest_inflated=64 << 20)
    read_header(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 8 << 20


@pytest.mark.parametrize("missing", [1, 100])
def test_a_deflated_stream_that_breaks_off_is_refused(make_file: FileMaker, missing: int) -> None:
    path = make_file(uid.DeflatedExplicitVRLittleEndian)
    path.write_bytes(path.read_bytes()[: -missing - 1])

    with pytest.raises(Refused) as caught:
        read_header(path)

    assert caught.value.reason is Reason.DAMAGED


HOST = socket.gethostname()


def test_start_up_leaves_the_files_of_another_host_until_they_are_old(held: ArchiveUnderTest) -> None:
    elsewhere = held.incoming / "another-host-4194305-1.dcm"
    elsewhere.write_bytes(b"half an object")

    assert held.store.sweep() == 0

    os.utime(elsewhere, (0, 0))
    assert held.store.sweep(older_than_seconds=900) == 1


def test_start_up_leaves_the_files_of_a_receiver_that_runs(held: ArchiveUnderTest) -> None:
    running, gone = (
        held.incoming / f"{HOST}-{os.getppid()}-1.dcm",
        held.incoming / f"{HOST}-4194305-1.dcm",
    )  # above any process
    for path in (running, gone):
        path.write_bytes(b"half an object")

    assert held.store.sweep() == 1

    assert list(held.incoming.iterdir()) == [running]


def _element(group: int, element: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", group, element, vr, len(value)) + value


_PATIENT = _element(0x0010, 0x0020, b"LO", b"4711")


@pytest.mark.parametrize(
    ("written", "instead", "said"),
    [
        # Readers differ in what they make of these: another object could be acknowledged than is read later.
        (
            _element(0x0020, 0x000D, b"UI", b"1.2.3\0"),
            _element(0x0020, 0x000D, b"UI", b"1\0002.3\0"),
            "StudyInstanceUID",
        ),
        (_element(0x0020, 0x000D, b"UI", b"1.2.3\0"), _element(0x0020, 0x000D, b"UY", b"1.2.3\0"), "StudyInstanceUID"),
        (_PATIENT, _element(0x0002, 0x0010, b"UI", b"1.2.840.10008.1.2\0") + _PATIENT, "group 0002"),
        (_PATIENT, struct.pack("<HHL", 0xFFFE, 0xE00D, 0) + _PATIENT, "group FFFE"),
        (_PATIENT, _element(0x0008, 0x0005, b"CC", b"ISO_IR 100") + _PATIENT, "Specific Character Set"),
    ],
)
def test_a_data_set_that_can_be_read_in_two_ways_is_refused(
    make_file: FileMaker, written: bytes, instead: bytes, said: str
) -> None:
    path = make_file()
    content = path.read_bytes()
    assert content.count(written) == 1
    path.write_bytes(content.replace(written, instead))

    with pytest.raises(Refused, match=said) as caught:
        read_header(path)

    assert caught.value.reason is Reason.DAMAGED


def test_an_element_that_falls_back_into_implicit_vr_is_read_like_pydicom_reads_it(make_file: FileMaker) -> None:
    path = make_file()
    implicit = struct.pack("<HHL", 0x0010, 0x0020, 0x0404) + b"4711" * 0x101
    path.write_bytes(path.read_bytes().replace(_PATIENT, implicit))

    header = read_header(path)

    assert header.patient_id == pydicom.dcmread(path).PatientID
    assert len(header.patient_id) == 0x404
