"""A peer that speaks to a storage SCP in bytes, so that it can say what no library would."""

from __future__ import annotations

import contextlib
import socket
import struct
from io import BytesIO
from types import TracebackType
from typing import Self

from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.dimse_messages import C_ECHO_RQ, C_STORE_RQ
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.dsutils import decode, encode
from pynetdicom.pdu import A_ASSOCIATE_RQ, A_RELEASE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, A_RELEASE, MaximumLengthNotification

from dicom_node.transport import VERIFICATION

ECHO_CONTEXT, EXPLICIT_CONTEXT, IMPLICIT_CONTEXT = 1, 3, 5
_LARGEST = 16384


def associate_request(called: str) -> bytes:
    """An A-ASSOCIATE-RQ for C-ECHO, and for CT images in the two common syntaxes."""
    request = A_ASSOCIATE()
    request.application_context_name = UID("1.2.840.10008.3.1.1.1")
    request.calling_ae_title, request.called_ae_title = "PEER", called
    length = MaximumLengthNotification()
    length.maximum_length_received = _LARGEST
    request.user_information = [length]
    contexts = [
        build_context(VERIFICATION),
        build_context(CTImageStorage, ExplicitVRLittleEndian),
        build_context(CTImageStorage, ImplicitVRLittleEndian),
    ]
    for context, number in zip(contexts, (ECHO_CONTEXT, EXPLICIT_CONTEXT, IMPLICIT_CONTEXT), strict=True):
        context.context_id = number
    request.presentation_context_definition_list = contexts
    return bytes(A_ASSOCIATE_RQ(request).encode())


def release_request() -> bytes:
    """An A-RELEASE-RQ."""
    return bytes(A_RELEASE_RQ(A_RELEASE()).encode())


def echo_request(message_id: int = 1) -> bytes:
    """A C-ECHO request in a P-DATA-TF PDU."""
    request = C_ECHO()
    request.MessageID, request.AffectedSOPClassUID = message_id, VERIFICATION
    message = C_ECHO_RQ()
    message.primitive_to_message(request)
    return p_data(ECHO_CONTEXT, 0x03, encode(message.command_set, True, True) or b"")


def store_request(
    sop_instance_uid: str, data_set: bytes, context: int = EXPLICIT_CONTEXT, message_id: int = 1
) -> bytes:
    """A C-STORE request of a CT image: its command, and the data set in pieces."""
    request = C_STORE()
    request.MessageID, request.Priority = message_id, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CTImageStorage, UID(sop_instance_uid)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    message.command_set.CommandDataSetType = 1
    pieces = [data_set[start : start + _LARGEST - 12] for start in range(0, len(data_set), _LARGEST - 12)] or [b""]
    last = len(pieces) - 1
    return p_data(context, 0x03, encode(message.command_set, True, True) or b"") + b"".join(
        p_data(context, 0x02 if number == last else 0x00, piece) for number, piece in enumerate(pieces)
    )


def p_data(context: int, control: int, value: bytes) -> bytes:
    """A P-DATA-TF PDU with one presentation data value (PS3.8 9.3.5)."""
    item = struct.pack(">LBB", len(value) + 2, context, control) + value
    return struct.pack(">BxL", 4, len(item)) + item


class Peer:
    """A connection to a storage SCP."""

    def __init__(self, port: int, seconds: float) -> None:
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=seconds)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.connection.close()

    def associate(self, called: str) -> None:
        """Ask for the association, and wait until it is accepted.

        Raises:
            ConnectionError: it was not.
        """
        self.connection.sendall(associate_request(called))
        kind, _ = self.receive()
        if kind != 2:
            raise ConnectionError(f"the association was answered with a PDU of type {kind}")

    def status(self) -> int | None:
        """The status of the next response; None where the association ended instead."""
        with contextlib.suppress(OSError, EOFError):
            kind, body = self.receive()
            if kind == 4:
                return int(decode(BytesIO(body[6:]), True, True).Status)
        return None

    def receive(self) -> tuple[int, bytes]:
        """The next PDU: its type and its content.

        Raises:
            EOFError: the other side closed the connection.
            OSError: it broke, or nothing came in time.
        """
        kind, length = struct.unpack(">BxL", self._exactly(6))
        return kind, self._exactly(length)

    def until_closed(self) -> bool:
        """Read to the end; whether the other side closed the connection in time."""
        try:
            while self.connection.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True

    def _exactly(self, count: int) -> bytes:
        content = b""
        while len(content) < count:
            piece = self.connection.recv(count - len(content))
            if not piece:
                raise EOFError
            content += piece
        return content
