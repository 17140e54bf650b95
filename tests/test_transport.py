"""Associations that the node requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pynetdicom import AE

from dicom_node.transport import VERIFICATION, associate


class LateEvent(threading.Event):
    """An event whose waiter is held up just after it was let through, as on a busy machine."""

    def wait(self, timeout: float | None = None) -> bool:
        let_through = super().wait(timeout)
        time.sleep(0.05)
        return let_through


@pytest.fixture
def peer_port() -> Iterator[int]:
    peer = AE("PEER")
    peer.add_supported_context(VERIFICATION)
    server = peer.start_server(("127.0.0.1", 0), block=False)
    yield server.server_address[1]
    server.shutdown()


def test_a_response_that_the_associations_own_thread_takes_reaches_the_one_who_asked(
    peer_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    entity = AE("NODE")
    entity.dimse_timeout = 2
    entity.add_requested_context(VERIFICATION)
    association = associate(entity, "127.0.0.1", peer_port)
    association._reactor_checkpoint = LateEvent()
    association._reactor_checkpoint.set()
    wait_for_message = association.dimse.get_msg

    def held_up(block: bool = False) -> Any:
        if block:
            time.sleep(0.1)  # so is the one who asked
        return wait_for_message(block)

    monkeypatch.setattr(association.dimse, "get_msg", held_up)
    time.sleep(0.2)  # until the association's thread waits for the late event

    statuses = [association.send_c_echo().get("Status") for _ in range(3)]
    association.release()

    assert statuses == [0] * 3
