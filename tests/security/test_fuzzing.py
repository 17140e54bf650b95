"""A bounded part of the fuzzers; ``python -m benchmarks fuzz --seconds 3600`` is the long form for the receiver."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread, dcmwrite
from pydicom.data import get_testdata_files
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from schemathesis.checks import not_a_server_error
from schemathesis.core.transport import Response

from benchmarks.fuzz import fuzz
from dicom_node.archive.header import read_header
from dicom_node.config import Config
from dicom_node.database import Database
from dicom_node.domain import Role
from dicom_node.receive.refusal import Refused
from dicom_node.web import create_app

TIMES = int(os.environ.get("DICOM_NODE_FUZZ_TIMES", "1"))
"""How many times as many examples as with every change, and then other ones each time."""


def _examples(count: int) -> settings:
    checks = list(HealthCheck)
    return settings(max_examples=count * TIMES, deadline=None, suppress_health_check=checks, derandomize=TIMES == 1)


SMALL = 200_000
"""Bytes of the largest of pydicom's test files that are used."""


@pytest.mark.embedded
def test_receiver_process_goes_on_and_holds_what_it_acknowledged(tmp_path: Path) -> None:
    outcome = fuzz(tmp_path, seconds=120.0, seed=1, cases=40)

    assert outcome.failures == []
    assert outcome.cases.total() == 40
    assert outcome.files_taken > 20


def _real_files() -> list[bytes]:
    files = [Path(name) for name in get_testdata_files("*.dcm")]
    return [path.read_bytes() for path in sorted(files) if path.is_file() and path.stat().st_size < SMALL]


@_examples(80)
@given(data=st.data())
def test_truncated_and_mutated_real_file_is_taken_or_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(data.draw(st.sampled_from(_FILES)))
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=8)):
        content[at] = value
    path = _path(tmp_path_factory)
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))

    _taken_or_refused(path)


_TEXT = st.text(max_size=40)
_ELEMENTS = st.fixed_dictionaries(
    {},
    optional={
        "PatientName": _TEXT,
        "PatientID": _TEXT,
        "StudyDescription": _TEXT,
        "SpecificCharacterSet": st.sampled_from(["ISO_IR 100", "ISO_IR 192", "\\ISO 2022 IR 87", "nonsense", ""]),
        "StudyInstanceUID": st.one_of(st.from_regex(r"[0-9.]{0,70}", fullmatch=True), _TEXT),
        "SeriesInstanceUID": st.sampled_from(["1.2", "../../etc/passwd", "/", "..", "1.2\x00", " 1.2 "]),
        "SOPInstanceUID": st.sampled_from(["1.2.3", "../x", "1.2.3.4", "."]),
        "SeriesNumber": st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1)),
        "Modality": _TEXT,
        "Rows": st.integers(0, 65535),
        "PixelData": st.binary(max_size=64),
    },
)


@_examples(80)
@given(elements=_ELEMENTS)
def test_any_data_set_is_taken_or_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, elements: dict[str, object]
) -> None:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    if "PixelData" in dataset:
        dataset["PixelData"].VR = "OB"
    original = dcmread(BytesIO(_FILES[0]), stop_before_pixels=True)
    original.update(dataset)
    path = _path(tmp_path_factory)
    try:
        dcmwrite(path, original, enforce_file_format=True)
    except (ValueError, TypeError, AttributeError, UnicodeError, InvalidDicomError):
        return  # no library writes it; the mutated bytes above go where this does not

    _taken_or_refused(path)


_FILES = _real_files()


def _path(factory: pytest.TempPathFactory) -> Path:
    return factory.getbasetemp() / "fuzzed.dcm"


def _taken_or_refused(path: Path) -> None:
    """The header is read, with UIDs that are safe as names of files, or a reason is given."""
    try:
        header = read_header(path)
    except Refused as refused:
        assert refused.text
        return
    for uid in (header.study_instance_uid, header.series_instance_uid, header.sop_instance_uid):
        assert set(uid) <= set("0123456789.")
        assert uid.strip(".")
        assert len(uid) <= 64


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    config = Config.model_validate({"node": {"data_folder": tmp_path_factory.mktemp("web")}})
    database = Database(config.database_url)
    database.create_tables()
    return create_app(config, database)


def test_http_api_answers_whatever_it_is_asked(app: FastAPI) -> None:
    _, key = app.state.api_keys.add("fuzzer", Role.ADMIN)
    operations = [found.ok() for found in schemathesis.openapi.from_asgi("/api/openapi.json", app).get_all_operations()]
    assert len(operations) >= 7

    for operation in operations:

        @settings(
            max_examples=10 * TIMES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=TIMES == 1
        )
        @given(case=operation.as_strategy())
        def ask(case: schemathesis.Case) -> None:
            answer: Response = case.call(headers={"Authorization": f"Bearer {key}"}, timeout=60)
            case.validate_response(answer, checks=[not_a_server_error])
            assert "Traceback" not in answer.text

        ask()
