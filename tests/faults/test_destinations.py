"""Destinations that are down, refuse, warn, hang or hang up: what becomes of a result, over real associations."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import ComprehensiveSRStorage, CTImageStorage

from dicom_node.config import Peer
from dicom_node.deliver.sender import Sender
from dicom_node.domain import DeliveryAttempt, DeliveryState
from tests.receiving_node import ct_image
from tests.storage_scp import ProgrammableStorage


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.dcm" for number in range(3)]
    for path in paths:
        ct_image(size=64).save_as(path, enforce_file_format=True)
    return paths


def _send(port: int, files: list[Path], timeout: float = 5, ae_title: str = "ARCHIVE") -> list[DeliveryAttempt]:
    peer = Peer(name="archive", ae_title=ae_title, host="127.0.0.1", port=port)
    return [attempt for _, attempt in Sender("DICOMNODE", timeout).send(peer, files)]


@contextmanager
def _listening(sop_class: str, handlers: list, require_called: bool = False) -> Iterator[int]:
    entity = AE("ARCHIVE")
    entity.add_supported_context(sop_class)
    entity.require_called_aet = require_called
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield server.socket.getsockname()[1]
    finally:
        entity.shutdown()


def test_a_destination_that_is_down_is_tried_again(files: list[Path], free_port: int) -> None:
    attempts = _send(free_port, files)

    assert {attempt.state for attempt in attempts} == {DeliveryState.RETRYING}
    assert "cannot be reached" in attempts[0].message


def test_a_destination_that_rejects_the_association_is_tried_again(files: list[Path]) -> None:
    with _listening(CTImageStorage, [], require_called=True) as port:
        attempts = _send(port, files, ae_title="SOMEBODY")

    assert {attempt.state for attempt in attempts} == {DeliveryState.RETRYING}
    assert "rejected the association" in attempts[0].message


def test_a_destination_that_takes_nothing_of_what_is_offered_is_tried_again(files: list[Path]) -> None:
    with _listening(ComprehensiveSRStorage, []) as port:
        attempts = _send(port, files)

    assert {attempt.state for attempt in attempts} == {DeliveryState.RETRYING}
    assert "none of the SOP classes" in attempts[0].message


@pytest.mark.parametrize(
    ("status", "state", "words"),
    [
        (0x0000, DeliveryState.DELIVERED, "accepted"),
        (0xB000, DeliveryState.DELIVERED, "with a warning: coercion"),
        (0xB007, DeliveryState.DELIVERED, "with a warning: data set does not match"),
        (0xA700, DeliveryState.RETRYING, "for now: out of resources"),
        (0xA900, DeliveryState.PARKED, "for good: data set does not match"),
        (0xC000, DeliveryState.PARKED, "for good: cannot understand"),
        (0xC211, DeliveryState.PARKED, "for good: cannot understand"),
        (0x0122, DeliveryState.PARKED, "for good: SOP class not supported"),
        (0x0110, DeliveryState.RETRYING, "for now: processing failure"),
    ],
)
def test_each_answer_has_its_outcome_and_the_other_objects_go_on(
    storage_scp: ProgrammableStorage, files: list[Path], status: int, state: DeliveryState, words: str
) -> None:
    storage_scp.statuses.append(status)

    first, *others = _send(storage_scp.port, files)

    assert (first.state, first.status) == (state, status)
    assert words in first.message
    assert {attempt.state for attempt in others} == {DeliveryState.DELIVERED}


def test_a_destination_that_hangs_in_the_transfer_is_given_up_after_the_timeout(files: list[Path]) -> None:
    released = threading.Event()

    def hang(_: evt.Event) -> int:
        released.wait(30)
        return 0x0000

    with _listening(CTImageStorage, [(evt.EVT_C_STORE, hang)]) as port:
        began = time.monotonic()
        attempts = _send(port, files, timeout=1)
        seconds = time.monotonic() - began
        released.set()

    assert {attempt.state for attempt in attempts} == {DeliveryState.RETRYING}
    assert "timed out" in attempts[0].message
    assert seconds < 10, "one timeout, not one for each object"


def test_a_destination_that_never_answers_the_association_is_given_up_after_the_timeout(files: list[Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        attempts = _send(silent.getsockname()[1], files, timeout=1)

    assert {attempt.state for attempt in attempts} == {DeliveryState.RETRYING}


def test_a_connection_that_drops_leaves_what_was_accepted_and_retries_the_rest(files: list[Path]) -> None:
    requests = 0

    def drop(event: evt.Event) -> int:
        nonlocal requests
        requests += 1
        if requests == 2:
            event.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)
        return 0x0000

    with _listening(CTImageStorage, [(evt.EVT_C_STORE, drop)]) as port:
        attempts = _send(port, files)

    assert [attempt.state for attempt in attempts] == [
        DeliveryState.DELIVERED,
        DeliveryState.RETRYING,
        DeliveryState.RETRYING,
    ]
