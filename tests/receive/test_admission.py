"""Who is admitted: as a decision, and over real sockets."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest

from dicom_node.config import Config
from dicom_node.domain import Association
from dicom_node.receive.admission import admit, admit_connection
from dicom_node.receive.refusal import Reason

from .conftest import NodeMaker

PEERS = [{"name": "ct", "ae_title": "CT1", "host": "ct.example", "port": 104, "sends": True}]
CALLER = Association("CT1", "DICOMNODE", "192.0.2.7")


def _config(**receive: Any) -> Config:
    return Config.model_validate({"receive": receive, "peers": PEERS})


def _resolve(host: str) -> set[str]:
    return {"192.0.2.7"} if host == "ct.example" else set()


@pytest.mark.parametrize("senders", ["any", "listed", "listed-hosts"])
def test_a_listed_sender_at_its_host_is_admitted(senders: str) -> None:
    assert admit(CALLER, [], _config(senders=senders), _resolve) is None


@pytest.mark.parametrize(
    ("caller", "settings", "reason"),
    [
        (Association("CT1", "OTHER", "192.0.2.7"), {}, Reason.WRONG_CALLED_AE_TITLE),
        (Association("CT2", "DICOMNODE", "192.0.2.7"), {"senders": "listed"}, Reason.UNLISTED_SENDER),
        (Association("CT2", "DICOMNODE", "192.0.2.7"), {"senders": "listed-hosts"}, Reason.UNLISTED_SENDER),
        (Association("CT1", "DICOMNODE", "192.0.2.8"), {"senders": "listed-hosts"}, Reason.WRONG_HOST),
    ],
)
def test_whoever_is_not_meant_to_send_is_rejected_for_good(
    caller: Association, settings: dict[str, Any], reason: Reason
) -> None:
    rejection = admit(caller, [], _config(**settings), _resolve)

    assert rejection is not None
    assert (rejection.reason, rejection.result) == (reason, 1)


def test_limits_in_all_and_of_one_peer_reject_for_now() -> None:
    config = _config(maximum_associations=3, maximum_associations_per_peer=2)
    other = Association("CT2", "DICOMNODE", "192.0.2.8")

    assert admit(CALLER, [CALLER, other], config, _resolve) is None
    of_peer = admit(CALLER, [CALLER, CALLER], config, _resolve)
    in_all = admit(CALLER, [other, other, CALLER], config, _resolve)

    assert of_peer is not None
    assert in_all is not None
    assert (of_peer.reason, of_peer.result, of_peer.source) == (Reason.TOO_MANY_OF_ONE_PEER, 2, 3)
    assert (in_all.reason, in_all.result, in_all.source) == (Reason.TOO_MANY_ASSOCIATIONS, 2, 3)


@pytest.mark.parametrize(
    ("address", "connections", "reason"),
    [
        ("192.0.2.7", 0, None),
        ("2001:db8::7", 0, None),
        ("198.51.100.7", 0, Reason.FOREIGN_ADDRESS),
        ("192.0.2.7", 6, Reason.TOO_MANY_ASSOCIATIONS),
    ],
)
def test_connections_are_taken_by_network_and_number(address: str, connections: int, reason: Reason | None) -> None:
    config = _config(networks=["192.0.2.0/24", "2001:db8::/32"], maximum_associations=3)

    refused = admit_connection(address, connections, config)

    assert (refused[0] if refused else None) is reason


def test_a_connection_from_a_foreign_network_is_closed_unread_and_written_down(start_node: NodeMaker) -> None:
    node = start_node(networks=["192.0.2.0/24"])

    with socket.create_connection(("127.0.0.1", node.port), timeout=5) as connection:
        assert connection.recv(1) == b""

    assert [(line[0], line[1]) for line in node.refusals.lines] == [("", Reason.FOREIGN_ADDRESS)]


def test_one_association_too_many_of_a_peer_is_rejected_and_others_are_not(start_node: NodeMaker) -> None:
    node = start_node(maximum_associations_per_peer=1)
    first = node.call("ONE")

    second, other = node.call("ONE"), node.call("TWO")

    assert [association.is_established for association in (first, second, other)] == [True, False, True]
    assert [line[1] for line in node.refusals.lines] == [Reason.TOO_MANY_OF_ONE_PEER]
    first.release()
    other.release()


def test_a_sender_that_falls_silent_is_written_down(start_node: NodeMaker) -> None:
    node = start_node(network_timeout_seconds=0.3)
    association = node.call("SLEEPER")

    association.join(5)

    assert not association.is_alive()
    deadline = time.monotonic() + 5
    while not node.refusals.lines and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [(line[0], line[1]) for line in node.refusals.lines] == [("SLEEPER", Reason.SENDER_SILENT)]
