"""Associations over real sockets, byte by byte: what a peer can do wrong, and that nothing is left behind."""

from __future__ import annotations

import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pynetdicom
import pytest
from pydicom import Dataset, dcmread, uid
from pydicom.uid import UID, generate_uid
from pynetdicom import AE, build_context, evt
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import decode
from pynetdicom.pdu import A_ASSOCIATE_RQ, A_RELEASE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, A_RELEASE, MaximumLengthNotification
from pynetdicom.sop_class import Verification

from dicom_node.receive.command_set import decode_store_request, encode_store_response
from dicom_node.receive.incoming import IncomingFile, file_meta
from dicom_node.receive.server import PromptServer, UnsupportedPynetdicom, serve

ABORT, RELEASE_RESPONSE, P_DATA = 7, 6, 4


class Receiver:
    """A server that keeps what arrives in memory, and a client that speaks to it in bytes."""

    def __init__(self, folder: Path, network_timeout: float = 20.0, **options: Any) -> None:
        self.folder = folder
        self.received: list[Dataset] = []
        self.ended = threading.Event()
        entity = AE("NODE")
        entity.acse_timeout, entity.network_timeout, entity.maximum_pdu_size = 5, network_timeout, 16384
        entity.add_supported_context(Verification)
        entity.add_supported_context(uid.CTImageStorage)
        handlers = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_CONN_CLOSE, lambda _: self.ended.set()),
        ]
        self.entity = entity
        self.server: PromptServer = serve(entity, ("127.0.0.1", 0), handlers, self._open, **options)
        self.port = int(self.server.server_address[1])

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _open(self, sop_class: UID, instance: UID, syntax: UID, sender: str) -> IncomingFile:
        return IncomingFile(self.folder, file_meta(sop_class, instance, syntax, sender), 1 << 20)

    def _store(self, event: evt.Event) -> int:
        file: Any = event.dataset_path
        if file.refusal is not None:
            return int(file.refusal.status)
        self.received.append(dcmread(file.path))
        file.discard()
        return 0x0000


ReceiverMaker = Callable[..., Receiver]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[ReceiverMaker]:
    receivers: list[Receiver] = []

    def make(**options: Any) -> Receiver:
        receivers.append(Receiver(tmp_path, **options))
        return receivers[-1]

    yield make
    for receiver in receivers:
        receiver.entity.shutdown()


def _associate(connection: socket.socket) -> None:
    request = A_ASSOCIATE()
    request.application_context_name = UID("1.2.840.10008.3.1.1.1")
    request.calling_ae_title, request.called_ae_title = "PEER", "NODE"
    length = MaximumLengthNotification()
    length.maximum_length_received = 16384
    request.user_information = [length]
    contexts = [build_context(Verification), build_context(uid.CTImageStorage, uid.ExplicitVRLittleEndian)]
    contexts[0].context_id, contexts[1].context_id = 1, 3
    request.presentation_context_definition_list = contexts
    connection.sendall(A_ASSOCIATE_RQ(request).encode())
    assert _pdu(connection)[0] == 2


def _pdu(connection: socket.socket) -> tuple[int, bytes]:
    header = _exactly(connection, 6)
    kind, length = struct.unpack(">BxL", header)
    return kind, _exactly(connection, length)


def _exactly(connection: socket.socket, count: int) -> bytes:
    content = b""
    while len(content) < count:
        piece = connection.recv(count - len(content))
        if not piece:
            raise EOFError
        content += piece
    return content


def _store_message(instance: str = "1.2.3") -> tuple[bytes, bytes]:
    """Command set and data set of a C-STORE request."""
    request = C_STORE()
    request.MessageID, request.Priority = 7, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = uid.CTImageStorage, UID(instance)
    request.DataSet = BytesIO(b"x")
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    command = next(iter(message.encode_msg(3, 0))).presentation_data_value_list[0][1][1:]
    dataset = struct.pack("<HH2sH", 0x0008, 0x0018, b"UI", 6) + b"1.2.3\0"
    dataset += struct.pack("<HH2sH", 0x0010, 0x0020, b"LO", 200) + b"A" * 200
    return bytes(command), dataset


def _data(*values: tuple[int, bytes], context_id: int = 3) -> bytes:
    """A P-DATA-TF PDU with presentation data values of (message control header, fragment)."""
    body = b"".join(struct.pack(">LBB", len(content) + 2, context_id, control) + content for control, content in values)
    return struct.pack(">BxL", P_DATA, len(body)) + body


def _answer(connection: socket.socket) -> Dataset:
    kind, body = _pdu(connection)
    assert kind == P_DATA
    return decode(BytesIO(body[6:]), True, True)


def _nothing_left(receiver: Receiver) -> bool:
    deadline = time.monotonic() + 5
    while receiver.entity.active_associations or list(receiver.folder.iterdir()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_a_message_in_one_pdu_and_one_in_many_pieces_arrive_alike(start: ReceiverMaker) -> None:
    receiver = start()
    command, dataset = _store_message()
    with receiver.connect() as connection:
        _associate(connection)

        connection.sendall(_data((3, command), (2, dataset)))
        first = _answer(connection)
        pieces = [_data((1, command[:9])), _data((3, command[9:]))]
        pieces += [_data((0, dataset[n : n + 1])) for n in range(len(dataset))] + [_data((2, b""))]
        for byte in b"".join(pieces):
            connection.sendall(bytes((byte,)))
        second = _answer(connection)
        connection.sendall(A_RELEASE_RQ(A_RELEASE()).encode())

        assert _pdu(connection)[0] == RELEASE_RESPONSE
    assert first == second
    assert (first.CommandField, first.Status, first.MessageIDBeingRespondedTo) == (0x8001, 0, 7)
    assert [received.PatientID for received in receiver.received] == ["A" * 200] * 2
    meta = receiver.received[0].file_meta
    assert meta.MediaStorageSOPInstanceUID == "1.2.3"
    assert meta.TransferSyntaxUID == uid.ExplicitVRLittleEndian
    assert meta.SourceApplicationEntityTitle == "PEER"
    assert _nothing_left(receiver)


def test_requests_sent_ahead_are_answered_in_order(start: ReceiverMaker) -> None:
    receiver = start()
    with receiver.connect() as connection:
        _associate(connection)
        instances = [f"1.2.{number}" for number in range(20)]
        for instance in instances:
            command, dataset = _store_message(instance)
            connection.sendall(_data((3, command), (2, dataset)))

        assert [_answer(connection).AffectedSOPInstanceUID for _ in instances] == instances


@pytest.mark.parametrize("ending", ["abort", "close", "reset"])
def test_an_association_that_ends_inside_a_data_set_leaves_nothing(start: ReceiverMaker, ending: str) -> None:
    receiver = start()
    command, dataset = _store_message()
    connection = receiver.connect()
    _associate(connection)
    connection.sendall(_data((3, command), (0, dataset[:50])))
    while not list(receiver.folder.iterdir()):
        time.sleep(0.005)

    if ending == "abort":
        connection.sendall(bytes([ABORT, 0, 0, 0, 0, 4, 0, 0, 0, 0]))
    elif ending == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()

    assert _nothing_left(receiver)
    assert not receiver.received


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(_data((2, b"abc")), id="a data set without a command"),
        pytest.param(_data((3, b"\0" * 7)), id="a command set cut short"),
        pytest.param(_data((3, b"")), id="an empty command set"),
        pytest.param(_data((3, _store_message()[0]), context_id=9), id="a context that was not accepted"),
        pytest.param(_data((3, _store_message()[0]), (3, _store_message()[0])), id="a command inside a data set"),
        pytest.param(struct.pack(">BxLLBB", 4, 6, 99, 3, 0), id="a value longer than its PDU"),
        pytest.param(struct.pack(">BxL", 4, 1 << 31), id="a P-DATA PDU longer than negotiated"),
        pytest.param(struct.pack(">BxL", 1, 1 << 31), id="a control PDU of 2 GB"),
        pytest.param(struct.pack(">BxL", 99, 4) + b"abcd", id="an unknown PDU"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="another protocol"),
    ],
)
def test_what_breaks_the_protocol_aborts_the_association_and_no_other(start: ReceiverMaker, bad: bytes) -> None:
    receiver = start()
    command, dataset = _store_message()
    with receiver.connect() as other, receiver.connect() as connection:
        _associate(other)
        _associate(connection)

        connection.sendall(bad)

        assert _pdu(connection)[0] == ABORT
        other.sendall(_data((3, command), (2, dataset)))
        assert _answer(other).Status == 0
    assert _nothing_left(receiver)


def test_an_abort_is_said_once(start: ReceiverMaker) -> None:
    with start().connect() as connection:
        _associate(connection)
        connection.sendall(struct.pack(">BxL", 4, 1 << 31))
        assert _pdu(connection)[0] == ABORT

        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            connection.recv(1)


@pytest.mark.parametrize("sent", [b"", struct.pack(">BxL", 4, 100) + b"abc"], ids=["nothing", "half a PDU"])
def test_a_silent_peer_is_cut_off_after_the_network_timeout(start: ReceiverMaker, sent: bytes) -> None:
    receiver = start(network_timeout=0.3)
    with receiver.connect() as connection:
        _associate(connection)
        connection.sendall(sent)

        started = time.monotonic()
        with pytest.raises(EOFError):
            while _pdu(connection)[0] != ABORT:
                pass
            raise EOFError
    assert time.monotonic() - started < 3
    assert _nothing_left(receiver)


def test_a_peer_that_trickles_a_pdu_is_cut_off_too(start: ReceiverMaker) -> None:
    receiver = start(network_timeout=0.3)
    with receiver.connect() as connection:
        _associate(connection)
        connection.sendall(struct.pack(">BxL", 4, 1000))

        with pytest.raises(OSError):
            for _ in range(100):
                connection.sendall(b"x")
                time.sleep(0.05)


def test_an_object_larger_than_allowed_is_refused_and_the_association_goes_on(start: ReceiverMaker) -> None:
    receiver = start()
    command, dataset = _store_message()
    with receiver.connect() as connection:
        _associate(connection)
        connection.sendall(_data((3, command)))
        for _ in range(150):
            connection.sendall(_data((0, bytes(8192))))
        connection.sendall(_data((2, b"")))

        assert _answer(connection).Status == 0xA700
        connection.sendall(_data((3, command), (2, dataset)))
        assert _answer(connection).Status == 0
    assert _nothing_left(receiver)


def test_other_messages_and_events_remain_pynetdicoms(start: ReceiverMaker) -> None:
    receiver = start()
    association = AE("PEER").associate("127.0.0.1", receiver.port, contexts=[build_context(Verification)])

    assert association.send_c_echo().Status == 0
    association.release()

    assert receiver.ended.wait(5)
    assert _nothing_left(receiver)


def test_shutting_down_aborts_what_is_open_at_once(start: ReceiverMaker) -> None:
    receiver = start()
    with receiver.connect() as connection:
        _associate(connection)

        started = time.monotonic()
        shutting_down = threading.Thread(target=receiver.entity.shutdown)
        shutting_down.start()

        assert _pdu(connection)[0] == ABORT
        connection.close()
        shutting_down.join()
        assert time.monotonic() - started < 2


def test_a_request_waits_for_nothing(start: ReceiverMaker) -> None:
    receiver = start()
    association = AE("PEER").associate("127.0.0.1", receiver.port, contexts=[build_context(Verification)])
    association.release()
    command, dataset = _store_message()
    with receiver.connect() as connection:
        _associate(connection)
        waits = []
        for _ in range(50):
            started = time.perf_counter()
            connection.sendall(_data((3, command), (2, dataset)))
            _answer(connection)
            waits.append(time.perf_counter() - started)

    # pynetdicom's own loops sleep at least twice a millisecond here; the best of many is free of what else runs.
    assert min(waits) < 0.002


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "node.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-keyout", str(path), "-out", str(path) + ".crt"], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + Path(str(path) + ".crt").read_bytes())
    return path


def test_tls_records_of_several_pdus_are_all_read(start: ReceiverMaker, certificate: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    receiver = start(ssl_context=context)
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    command, dataset = _store_message()

    # A connection that never begins its handshake must keep nobody waiting.
    with receiver.connect(), trusting.wrap_socket(receiver.connect()) as connection:
        _associate(connection)
        connection.sendall(_data((3, command), (2, dataset)) * 10)
        statuses = [_answer(connection).Status for _ in range(10)]

    assert statuses == [0] * 10


def test_two_servers_share_a_port_where_both_say_so(tmp_path: Path, start: ReceiverMaker) -> None:
    first = start(shared_port=True)
    second = AE("SECOND")
    second.add_supported_context(Verification)

    server = serve(second, ("127.0.0.1", first.port), [], first._open, shared_port=True)

    assert server.server_address[1] == first.port
    second.shutdown()


def test_another_pynetdicom_is_refused(monkeypatch: pytest.MonkeyPatch, start: ReceiverMaker) -> None:
    monkeypatch.setattr(pynetdicom, "__version__", "4.0.0")

    with pytest.raises(UnsupportedPynetdicom, match=r"4\.0\.0"):
        start()


def test_command_sets_are_those_of_pynetdicom() -> None:
    command, _ = _store_message(generate_uid())
    request = decode_store_request(command, 3)
    assert request is not None
    assert (request.MessageID, request.Priority, request.AffectedSOPClassUID) == (7, 2, uid.CTImageStorage)
    assert request.is_valid_request

    request.MessageIDBeingRespondedTo, request.Status, request.ErrorComment = 7, 0xA700, "disk almost full"
    decoded = decode(BytesIO(encode_store_response(request)), True, True)

    assert decoded.CommandField == 0x8001
    assert decoded.CommandDataSetType == 0x0101
    assert (decoded.Status, decoded.ErrorComment) == (0xA700, "disk almost full")
    assert decoded.AffectedSOPInstanceUID == request.AffectedSOPInstanceUID
    assert decoded.CommandGroupLength == len(encode_store_response(request)) - 12
