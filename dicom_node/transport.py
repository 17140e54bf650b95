"""What both ends of an association set on their socket."""

from __future__ import annotations

import socket

from pynetdicom import evt


def send_without_delay(event: evt.Event) -> None:
    """Handler of EVT_CONN_OPEN that turns Nagle's algorithm off.

    It holds small DIMSE messages back until the other side's delayed acknowledgement, some 40 ms each.
    """
    transport = event.assoc.dul.socket
    if transport is not None and transport.socket is not None:
        transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
