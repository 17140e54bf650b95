"""What the node is and does at either end of an association."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.association import Association

from dicom_node import __version__
from dicom_node.domain import IMPLEMENTATION_CLASS_UID

IMPLEMENTATION_VERSION_NAME = f"DICOM-NODE_{__version__}"[:16]
"""Implementation Version Name (PS3.7 D.3.3.2)."""

VERIFICATION = UID("1.2.840.10008.1.1")
"""Verification SOP class (PS3.4 A.4)."""

STORAGE_COMMITMENT = UID("1.2.840.10008.1.20.1")
"""Storage Commitment Push Model SOP class (PS3.4 J.3)."""

STORAGE_COMMITMENT_INSTANCE = UID("1.2.840.10008.1.20.1.1")
"""Its one well-known SOP instance (PS3.4 J.3.5)."""


QUERY_STUDIES = UID("1.2.840.10008.5.1.4.1.2.2.1")
"""Study Root Query/Retrieve Information Model - FIND (PS3.4 C.6.2)."""

MOVE_STUDIES = UID("1.2.840.10008.5.1.4.1.2.2.2")
"""Study Root Query/Retrieve Information Model - MOVE."""

GET_STUDIES = UID("1.2.840.10008.5.1.4.1.2.2.3")
"""Study Root Query/Retrieve Information Model - GET."""


def identify(entity: AE) -> None:
    """Negotiate under the node's own implementation class UID and version name (PS3.7 D.3.3.2)."""
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME


def associate(entity: AE, host: str, port: int, *, evt_handlers: Sequence[Any] = (), **arguments: Any) -> Association:
    """``AE.associate``, without Nagle's algorithm and so that no response is lost between pynetdicom's threads.

    pynetdicom stops the association's own thread before it sends a request, but that thread may just be past the place
    where it stops, take the response for a request, and drop it: the caller then waits for its DIMSE timeout. It is
    seldom, and the more frequent the faster the peer and the busier the machine.
    """
    handlers = [(evt.EVT_CONN_OPEN, _send_without_delay), *evt_handlers]
    association = entity.associate(host, port, evt_handlers=handlers, **arguments)
    serve_request = association._serve_request

    def serve_or_hand_back(message: Any, context_id: int) -> None:
        if not message.is_valid_request and not association._reactor_checkpoint.is_set():
            association.dimse.msg_queue.put((context_id, message))  # the one who waits for it takes it from there
        else:
            serve_request(message, context_id)

    setattr(association, "_serve_request", serve_or_hand_back)  # noqa: B010 - mypy takes no assignment to a method
    return association


def _send_without_delay(event: evt.Event) -> None:
    """Turn Nagle's algorithm off.

    It holds small DIMSE messages back until the other side's delayed acknowledgement, some 40 ms each.
    """
    transport = event.assoc.dul.socket
    if transport is not None and transport.socket is not None:
        transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
