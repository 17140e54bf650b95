"""Associations that wait for events instead of polling: pynetdicom's state machine in one thread an association.

pynetdicom runs two threads an association, the upper layer and the association itself, which look every millisecond
whether the other has something. Here the association's thread takes both parts: it blocks until its socket can be
read, another thread wakes it or a timer ends, takes the event through pynetdicom's own state machine (PS3.8 9.2), and
serves a complete message at once. Negotiation, PDUs, DIMSE messages, services and events remain pynetdicom's. What is
replaced is the waiting, and the way of a C-STORE data set, which goes from the socket to its file in the pieces in
which it arrives.

Requests to the peer over an association that was received are not possible: nobody would read the answer.
"""

from __future__ import annotations

import logging
import os
import select
import ssl
import struct
import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol

from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu import A_ABORT_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, P_DATA
from pynetdicom.service_class import StorageServiceClass

from dicom_node.part10 import BROKEN
from dicom_node.receive.command_set import decode_store_request, encode_store_response

log = logging.getLogger(__name__)

_PDU_HEADER = struct.Struct(">BxL")
_PDV_HEADER = struct.Struct(">LBB")
_P_DATA_TF = 0x04
_COMMAND, _LAST = 0x01, 0x02  # bits of the message control header (PS3.8 E.2)
_LARGEST_CONTROL_PDU = 1 << 20  # a request of 128 contexts with 30 transfer syntaxes each has some 250 kB
_LARGEST_COMMAND = 1 << 16
_FIRST_BUFFER = 1 << 14


class CutOff(Enum):
    """Why the node ended an association that the peer had not."""

    SILENT = "the peer sent nothing, or not the rest of a PDU, for longer than the network timeout"
    PDU_TOO_LONG = "a PDU is longer than the node said that it takes"


class DataSetFile(Protocol):
    """Where an arriving data set goes; it takes all pieces, whatever happens to them."""

    def write(self, data: memoryview) -> None:
        """Append a piece."""

    def finish(self) -> None:
        """The data set is complete."""

    def discard(self) -> None:
        """The association ended before the data set did."""


OpenFile = Callable[[UID, UID, UID, str], DataSetFile]
"""Opens a file for a data set: its SOP class, SOP instance and transfer syntax, and the calling AE title."""


class UpperLayer(DULServiceProvider):
    """The upper layer of one association, stepped by the association's own thread; other threads may ``send_pdu``."""

    def __init__(self, association: PromptAssociation) -> None:
        super().__init__(association)
        self._association = association
        self.cut_off: CutOff | None = None
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._wake_lock = threading.Lock()
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)
        self._socket_poll = select.poll()
        self._polled: Any = None
        self._header = memoryview(bytearray(_PDU_HEADER.size))
        self._header_bytes = 0  # of the next PDU, which have come already
        self._buffer = memoryview(bytearray(_FIRST_BUFFER))

    def close(self) -> None:
        """Give the wake-up descriptor back."""
        with self._wake_lock:
            os.close(self._wake)
            self._wake = -1

    def is_alive(self) -> bool:
        """Whether the state machine still runs."""
        return not self._kill_thread

    def send_pdu(self, primitive: Any) -> None:
        """Queue a primitive for the peer; wakes the association where another thread calls."""
        super().send_pdu(primitive)
        if threading.current_thread() is not self._association:
            with self._wake_lock:
                if self._wake >= 0:
                    os.eventfd_write(self._wake, 1)

    def receive_pdu(self, wait: bool = False, timeout: float | None = None) -> Any:
        """The next primitive for the user; with ``wait``, steps until there is one."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while wait and self.to_user_queue.empty() and self.is_alive():
            remaining = None if deadline is None else deadline - time.monotonic()
            if remaining is not None and remaining <= 0:
                break
            self.step(remaining)
        return super().receive_pdu()

    def stop_dul(self) -> bool:
        """Whether the state machine is idle and so has ended; the association's own thread steps it on its way."""
        if self.state_machine.current_state != "Sta1" and threading.current_thread() is self._association:
            self.step(None)
        if self.state_machine.current_state == "Sta1":
            self._kill_thread = True
        return bool(self._kill_thread)

    def step(self, timeout: float | None) -> None:
        """Take what has happened: a timer's end, what the user sends, or what the peer sends within ``timeout``."""
        try:
            if self.artim_timer.expired:
                self.event_queue.put("Evt18")
            elif self.event_queue.empty():
                if self.state_machine.current_state == "Sta13":
                    self.to_provider_queue.queue.clear()  # only the end of the connection is still to come
                if not self._process_recv_primitive() and self._peer_has_sent(timeout):
                    self._read_pdu_data()
                    self._idle_timer.restart()
            while self.is_alive() and not self.event_queue.empty():
                self.state_machine.do_action(self.event_queue.get(block=False))
        except Exception:
            log.exception("an association ended on an internal error")
            self._end_at_once()

    def send_data(self, context_id: int, control: int, value: bytes) -> None:
        """Send one presentation data value (PS3.8 9.3.5) in the state of data transfer, in which nothing else waits."""
        if self.socket is not None and self.state_machine.current_state == "Sta6":
            length = len(value) + 2
            self.socket.send(
                _PDU_HEADER.pack(_P_DATA_TF, length + 4) + _PDV_HEADER.pack(length, context_id, control) + value
            )

    def _peer_has_sent(self, timeout: float | None) -> bool:
        """Wait until the peer has sent something or closed the connection; false after ``timeout`` or when woken."""
        connection = self._connection()
        if connection is None:
            self.event_queue.put("Evt17")
            return False
        if self._header_bytes or (isinstance(connection, ssl.SSLSocket) and connection.pending()):
            return True
        if connection is not self._polled:
            connection.settimeout(self.network_timeout)
            for poll in (self._poll, self._socket_poll):
                poll.register(connection, select.POLLIN)
            self._polled = connection
        limits = [timeout, self.artim_timer.remaining if self._artim_runs() else None]
        remaining = min((limit for limit in limits if limit is not None), default=None)
        ready = dict(self._poll.poll(None if remaining is None else max(0.0, remaining) * 1000 + 1))
        if ready.pop(self._wake, None):
            os.eventfd_read(self._wake)
        return bool(ready)

    def _connection(self) -> Any:
        """The connected socket, None once it is closed."""
        return self.socket.socket if self.socket is not None else None

    def _artim_runs(self) -> bool:
        """The timer runs while an association request or the end of the connection is awaited (PS3.8 9.1.5)."""
        return self.artim_timer.timeout is not None and self.state_machine.current_state in ("Sta2", "Sta13")

    def _read_pdu_data(self) -> None:
        """Read a PDU, and of a data set that arrives all PDUs that have come, and queue the event.

        P-DATA during data transfer goes straight to the messages, without an event.
        """
        try:
            while (
                self._read_pdu()
                and self._header_bytes
                and self._association.messages.inside_data_set
                and self.to_provider_queue.empty()
            ):
                pass
        except (OSError, EOFError) as error:
            if isinstance(error, TimeoutError):
                self.cut_off = CutOff.SILENT
            self.event_queue.put("Evt17")

    def _read_pdu(self) -> bool:
        """Read one PDU; whether it was data that the messages took."""
        deadline = time.monotonic() + self.network_timeout if self.network_timeout is not None else None
        while self._header_bytes < _PDU_HEADER.size:
            self._header_bytes += self._receive([self._header[self._header_bytes :]], deadline)
        kind, length = _PDU_HEADER.unpack(self._header)
        self._header_bytes = 0
        is_data = kind == _P_DATA_TF
        if length > (self.assoc.acceptor.maximum_length if is_data else _LARGEST_CONTROL_PDU):
            self.cut_off = CutOff.PDU_TOO_LONG
            self.event_queue.put("Evt19")
            return False
        header, body = bytes(self._header), self._read_body(length, deadline)
        try:
            if is_data and self.state_machine.current_state == "Sta6":
                self._take_data(body)
                return True
            pdu, event = self._decode_pdu(bytearray(header + body))
        except (*BROKEN, AssertionError) as error:  # pynetdicom asserts the lengths of items
            log.warning("a PDU of type %02Xh cannot be decoded (%s)", kind, type(error).__name__)
            self.event_queue.put("Evt19")
            return False
        self.event_queue.put(event)
        self._recv_pdu.put(pdu)
        return False

    def _read_body(self, length: int, deadline: float | None) -> memoryview:
        """Read the PDU whose header was read, and what has come of the header that follows it."""
        if len(self._buffer) < length:
            self._buffer = memoryview(bytearray(length))
        missing = body = self._buffer[:length]
        while missing:
            received = self._receive([missing, self._header], deadline)
            self._header_bytes = max(0, received - len(missing))
            missing = missing[received:]
        return body

    def _receive(self, views: list[memoryview], deadline: float | None) -> int:
        """Fill the views, one after the other, with what has come, waiting for the first byte; returns how many.

        Raises:
            EOFError: the peer closed the connection.
            OSError: the connection broke, or the deadline passed.
        """
        connection = self._connection()
        if isinstance(connection, ssl.SSLSocket):
            if deadline is not None:
                connection.settimeout(max(0.001, deadline - time.monotonic()))
            received = connection.recv_into(views[0])
        else:
            received = self._receive_plain(connection.fileno(), views, deadline)
        if received == 0:
            raise EOFError
        return received

    def _receive_plain(self, descriptor: int, views: list[memoryview], deadline: float | None) -> int:
        # A socket with a timeout would be polled before each read, though mostly something has come.
        while True:
            try:
                return os.readv(descriptor, views)
            except BlockingIOError:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and (left <= 0 or not self._socket_poll.poll(left * 1000 + 1)):
                    raise TimeoutError from None

    def _take_data(self, body: memoryview) -> None:
        """Hand on the presentation data values of a P-DATA-TF PDU (PS3.8 9.3.5)."""
        position = 0
        while position < len(body):
            length, context_id, control = _PDV_HEADER.unpack_from(body, position)
            end = position + 4 + length
            if length < 2 or end > len(body):
                raise ValueError("a presentation data value does not fit into its PDU")
            self._association.messages.receive_fragment(context_id, control, body[position + 6 : end])
            position = end

    def _end_at_once(self) -> None:
        """Abort and close without the state machine, which cannot be relied on any more."""
        abort = A_ABORT_RQ()
        abort.source, abort.reason_diagnostic = 0x02, 0x00
        if self.socket is not None and self.socket.socket is not None:
            self.socket.send(abort.encode())
            self.socket.close()
        association = self._association
        association.is_aborted, association.is_established = True, False
        association._kill = self._kill_thread = True


class Messages(DIMSEServiceProvider):
    """The DIMSE messages of one association; the data set of a C-STORE request is written as it arrives.

    The handler of EVT_C_STORE finds its file as the event's ``dataset_path``, and owns it. C-STORE messages are not
    reported as EVT_DIMSE_RECV and EVT_DIMSE_SENT.
    """

    def __init__(self, association: PromptAssociation, open_file: OpenFile) -> None:
        super().__init__(association)
        self._association = association
        self._open_file = open_file
        self._command = bytearray()
        self._request: C_STORE | None = None
        self._file: DataSetFile | None = None

    @property
    def inside_data_set(self) -> bool:
        """Whether more of a C-STORE data set is to come."""
        return self._file is not None

    def receive_fragment(self, context_id: int, control: int, data: memoryview) -> None:
        """Take one fragment of a command set or a data set, as its message control header says (PS3.8 E.2).

        Raises:
            LookupError: the presentation context was not accepted.
            ValueError: a data set without a command, or a command inside a data set; or the command set is broken.
        """
        if control & _COMMAND:
            self._take_command(context_id, control, data)
        elif self._request is not None and self._file is not None:
            self._file.write(data)
            if control & _LAST:
                self._file.finish()
                request, self._request, self._file = self._request, None, None
                self.msg_queue.put((context_id, request))
        elif self.message is not None:
            self._receive(context_id, bytes((control,)) + bytes(data))
        else:
            raise ValueError("a data set without a command")

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send a message; the response to a C-STORE request goes out at once."""
        if not isinstance(primitive, C_STORE) or primitive.MessageIDBeingRespondedTo is None:
            super().send_msg(primitive, context_id)
            return
        self._association.upper_layer.send_data(context_id, _COMMAND | _LAST, encode_store_response(primitive))

    def discard(self) -> None:
        """Remove what a broken association left unfinished."""
        if self._file is not None:
            self._file.discard()
            self._file = None

    def _take_command(self, context_id: int, control: int, data: memoryview) -> None:
        if self._request is not None or self.message is not None:
            raise ValueError("a command inside a data set")
        self._command += data
        if len(self._command) > _LARGEST_COMMAND:
            raise ValueError("a command set without end")
        if not control & _LAST:
            return
        command, self._command = bytes(self._command), bytearray()
        request = decode_store_request(command, context_id)
        if request is None:
            self._receive(context_id, bytes((_COMMAND | _LAST,)) + command)
            return
        syntax = self._association.accepted_syntax(context_id)
        sender = str(self._association.requestor.ae_title or "").strip()
        self._file = self._open_file(
            UID(str(request.AffectedSOPClassUID)), UID(str(request.AffectedSOPInstanceUID)), syntax, sender
        )
        file: Any = self._file
        self._request, request._dataset_path = request, file

    def _receive(self, context_id: int, value: bytes) -> None:
        fragments: list[Any] = [[context_id, value]]
        primitive = P_DATA()
        primitive.presentation_data_value_list = fragments
        self.receive_primitive(primitive)


class PromptAssociation(Association):
    """An association with a peer that called, which serves each message as soon as it is complete."""

    def __init__(self, entity: AE, mode: str, open_file: OpenFile) -> None:
        super().__init__(entity, mode)
        self.dul = self.upper_layer = UpperLayer(self)
        self.dimse = self.messages = Messages(self, open_file)
        self.acse_timeout = entity.acse_timeout  # sets the timer of the upper layer, which is another now
        self.network_timeout = entity.network_timeout
        self._started_dul = True

    def accepted_syntax(self, context_id: int) -> UID:
        """The transfer syntax of a presentation context.

        Raises:
            KeyError: it was not accepted.
        """
        return self._accepted_cx[context_id].transfer_syntax[0]

    def _serve_request(self, msg: Any, context_id: int) -> None:
        """As in pynetdicom, whose search for the service class of a C-STORE costs more than the service."""
        if isinstance(msg, C_STORE) and msg._dataset_path is not None:
            StorageServiceClass(self).SCP(msg, self._accepted_cx[context_id])
        else:
            super()._serve_request(msg, context_id)

    def run_reactor(self) -> None:
        """Negotiate and serve; leaves nothing behind however the association ends."""
        self.upper_layer._idle_timer.start()
        try:
            request = self.upper_layer.receive_pdu(wait=True, timeout=self.acse_timeout)
            if isinstance(request, A_ASSOCIATE):
                self.requestor.primitive = request
                evt.trigger(self, evt.EVT_REQUESTED, {})
                if not self.is_aborted and not self.is_rejected:
                    self.acse.negotiate_association()
                if self.is_established:
                    self._run_reactor()
            self.kill()
        finally:
            self.messages.discard()
            if self.upper_layer.socket is not None:
                self.upper_layer.socket._shutdown_socket()
            self.upper_layer.close()

    def _run_reactor(self) -> None:
        """Serve until the association ends, with the checks of pynetdicom's loop and without its pause."""
        while not self._kill and self.upper_layer.is_alive():
            if self.messages.msg_queue.empty():
                self.upper_layer.step(
                    self.upper_layer._idle_timer.remaining if self.network_timeout is not None else None
                )
            context_id, message = self.messages.get_msg(block=False)
            if message:
                self._serve_request(message, context_id or 0)
                self.upper_layer._idle_timer.restart()
            if self.is_established and self.acse.is_release_requested():
                self.acse.send_release(is_response=True)
                self.is_released, self.is_established = True, False
                evt.trigger(self, evt.EVT_RELEASED, {})
                return
            if self.acse.is_aborted():
                self.upper_layer.receive_pdu()
                self.is_aborted, self.is_established = True, False
                evt.trigger(self, evt.EVT_ABORTED, {})
                return
            if self.upper_layer.idle_timer_expired():
                self.upper_layer.cut_off = CutOff.SILENT
                self.abort()
                return
