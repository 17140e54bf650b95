"""The conformance statement says what the code does: its lists are read back and held against it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dicom_node.config import Config
from dicom_node.deliver.outcome import judge
from dicom_node.domain import IMPLEMENTATION_CLASS_UID, DeliveryState
from dicom_node.receive.contexts import ANALYSABLE_SOP_CLASSES, STORED_ONLY_SOP_CLASSES, TRANSFER_SYNTAXES
from dicom_node.receive.refusal import StoreStatus

STATEMENT = (Path(__file__).parents[1] / "docs" / "conformance.md").read_text(encoding="utf-8")


def _section(heading: str) -> str:
    """The text below a heading, up to the next of its level or above."""
    match = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^#{{1,4}} |\Z)", STATEMENT, re.M | re.S)
    assert match, f"no section {heading!r}"
    return match[2]


def _rows(section: str) -> list[tuple[str, ...]]:
    lines = [line for line in section.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]


def test_the_accepted_sop_classes_are_those_of_the_receiver() -> None:
    rows = [row for row in _rows(_section("Accepted SOP classes")) if len(row) == 3]

    assert [(row[0], row[1]) for row in rows if row[2].startswith("stored; read")] == [
        (uid.name, str(uid)) for uid in ANALYSABLE_SOP_CLASSES
    ]
    assert [(row[0], row[1]) for row in rows if row[2] == "stored, never analysed"] == [
        (uid.name, str(uid)) for uid in STORED_ONLY_SOP_CLASSES
    ]


def test_the_accepted_transfer_syntaxes_are_those_of_the_receiver() -> None:
    rows = [row for row in _rows(_section("Accepted SOP classes")) if len(row) == 2 and row[0] != "transfer syntax"]

    assert rows == [(uid.name, str(uid)) for uid in TRANSFER_SYNTAXES]


def test_the_statuses_are_those_that_the_receiver_answers() -> None:
    stated = {int(row[0], 16) for row in _rows(_section("C-STORE behaviour")) if row[0].startswith("0x")}

    of_http = {StoreStatus.SOP_CLASS_NOT_SUPPORTED, StoreStatus.TRANSFER_SYNTAX_NOT_SUPPORTED}
    assert stated == {0x0000, *StoreStatus} - of_http


def test_the_failure_reasons_of_stow_are_those_that_the_node_gives() -> None:
    stated = {int(row[0], 16) for row in _rows(_section("3.4 DICOMweb origin server")) if row[0].startswith("0x")}

    assert stated == set(StoreStatus)


@pytest.mark.parametrize(
    ("row", "state"),
    list(enumerate([DeliveryState.DELIVERED, DeliveryState.DELIVERED, DeliveryState.RETRYING, DeliveryState.PARKED])),
)
def test_the_outcome_of_each_stated_status_is_that_of_the_sender(row: int, state: DeliveryState) -> None:
    rows = [cells[0] for cells in _rows(_section("Behaviour on C-STORE responses")) if cells[0] != "status"]

    for text in re.findall(r"0x[0-9A-F]+x*", rows[row]):
        assert judge(int(text[2:].replace("x", "0"), 16)).state is state, text


def test_the_stated_defaults_are_those_of_the_configuration() -> None:
    config = Config()
    policies = _section("Association policies")

    for value in (
        config.receive.port,
        config.receive.maximum_associations,
        config.receive.maximum_associations_per_peer,
        f"{config.receive.request_timeout_seconds:g} s",
        config.receive.maximum_pdu_size,
        f"{config.receive.network_timeout_seconds:g} s",
    ):
        assert f"default {value}" in policies
    assert IMPLEMENTATION_CLASS_UID in STATEMENT
