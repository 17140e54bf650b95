"""STOW-RS against a real Orthanc with its DICOMweb plug-in, and against answers that it does not give."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_node.certificates import make_certificates
from dicom_node.config import ConfigurationError, Peer, ReceiverTls, load_config
from dicom_node.deliver.stow import StowSender
from dicom_node.demo.archives import PLUGINS, Orthanc
from dicom_node.domain import DeliveryState, StudyState
from dicom_node.tls import receiver_context
from tests.test_workflow import NodeUnderTest

Answer = tuple[int, object]


class Server:
    """An HTTP server that answers STOW-RS and QIDO-RS as the test says, and keeps the requests."""

    def __init__(self, stored: Answer = (200, {}), found: Answer = (200, []), tls: ReceiverTls | None = None) -> None:
        self.requests: list[tuple[str, str, str]] = []
        self.bodies: list[bytes] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"

            def do_POST(self) -> None:
                body = b""
                while (size := int(self.rfile.readline(), 16)) > 0:
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                outer.bodies.append(body)
                self._answer(stored)

            def do_GET(self) -> None:
                self._answer(found)

            def _answer(self, answer: Answer) -> None:
                outer.requests.append((self.command, self.path, self.headers.get("Authorization", "")))
                status, content = answer
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(content).encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = receiver_context(tls).wrap_socket(self._server.socket, server_side=True)
        self.scheme = "https" if tls else "http"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self._server.server_port}/dicom-web"

    def stop(self) -> None:
        self._server.shutdown()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(**answers: object) -> Server:
        servers.append(Server(**answers))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def file(tmp_path: Path, phantom_chest_ct: list[Dataset]) -> Path:
    pydicom.dcmwrite(tmp_path / "one.dcm", phantom_chest_ct[0], enforce_file_format=True)
    return tmp_path / "one.dcm"


def _peer(url: str, **settings: object) -> Peer:
    tls = settings.pop("tls", None)
    return Peer.model_validate({"name": "web", "dicomweb": {"url": url, **settings}, "tls": tls})


def _uid(file: Path) -> str:
    return str(pydicom.dcmread(file).SOPInstanceUID)


def _about(uid: str, sequence: str, **reason: int) -> dict[str, object]:
    item = {"00081155": {"vr": "UI", "Value": [uid]}} | {
        tag.removeprefix("t"): {"vr": "US", "Value": [number]} for tag, number in reason.items()
    }
    return {sequence: {"vr": "SQ", "Value": [item]}}


def test_a_study_is_delivered_to_orthanc_by_stow_and_proven_by_qido(
    tmp_path: Path, phantom_abdomen_ct: list[Dataset]
) -> None:
    if not Orthanc.is_installed() or not list(PLUGINS.glob("libOrthancDicomWeb*.so")):
        pytest.skip("Orthanc's DICOMweb plug-in is not installed (Debian: orthanc-dicomweb)")
    with Orthanc(tmp_path / "orthanc", {}) as orthanc:
        node = NodeUnderTest(tmp_path / "node", 1, dicomweb={"url": f"{orthanc.url}/dicom-web"})
        try:
            node.work()
            uid = node.receive(phantom_abdomen_ct)
            node.wait_for(uid, StudyState.DELIVERED)
        finally:
            node.close()

        assert sorted(made.Modality for made in orthanc.objects(uid)) == ["OT", "SR"]
        assert StowSender(5).check(_peer(f"{orthanc.url}/dicom-web")) is None


@pytest.mark.parametrize(
    ("reason", "state"),
    [(0xA700, DeliveryState.RETRYING), (0xC000, DeliveryState.PARKED), (0x0122, DeliveryState.PARKED)],
)
def test_what_the_server_says_of_an_object_counts_as_in_c_store(
    serve: Callable[..., Server], file: Path, reason: int, state: DeliveryState
) -> None:
    server = serve(stored=(409, _about(_uid(file), "00081198", t00081197=reason)))

    [(_, outcome)] = StowSender(5).send(_peer(server.url), [file])

    assert (outcome.state, outcome.status) == (state, reason)


def test_an_object_that_cannot_be_found_afterwards_is_sent_again(serve: Callable[..., Server], file: Path) -> None:
    server = serve(stored=(200, _about(_uid(file), "00081199")), found=(204, None))

    [(_, outcome)] = StowSender(5).send(_peer(server.url), [file])

    assert outcome.state is DeliveryState.RETRYING
    assert "QIDO-RS does not find it" in outcome.message
    assert file.read_bytes() in server.bodies[0]


def test_the_node_names_itself_by_token_or_password(serve: Callable[..., Server], file: Path, tmp_path: Path) -> None:
    server = serve(found=(200, [_uid(file)]))
    (tmp_path / "token").write_text("abc\n", encoding="utf-8")

    bearer = _peer(server.url, token_file=tmp_path / "token")
    basic = _peer(server.url, user="node", password_file=tmp_path / "token")
    outcomes = [outcome for peer in (bearer, basic) for _, outcome in StowSender(5).send(peer, [file])]

    assert {outcome.state for outcome in outcomes} == {DeliveryState.DELIVERED}
    assert {header for _, _, header in server.requests} == {"Bearer abc", "Basic bm9kZTphYmM="}


def test_a_server_that_turns_the_node_away_or_is_away_is_tried_again(serve: Callable[..., Server], file: Path) -> None:
    server = serve(stored=(401, {}))

    [(_, refused)] = StowSender(5).send(_peer(server.url), [file])
    outcomes = [outcome for _, outcome in StowSender(5).send(_peer("http://127.0.0.1:9/dicom-web"), [file, file])]

    assert (refused.state, "check the token" in refused.message) == (DeliveryState.RETRYING, True)
    assert [outcome.state for outcome in outcomes] == [DeliveryState.RETRYING] * 2
    assert "cannot be reached" in outcomes[0].message


def test_an_https_server_must_show_a_certificate_of_the_authorities(
    serve: Callable[..., Server], file: Path, tmp_path: Path
) -> None:
    make_certificates(tmp_path / "tls", ["server"], ["127.0.0.1"], 1, datetime.now(UTC))
    make_certificates(tmp_path / "other", ["server"], ["127.0.0.1"], 1, datetime.now(UTC))
    own = ReceiverTls(certificate=tmp_path / "tls" / "server.pem", key=tmp_path / "tls" / "server.key")
    server = serve(found=(200, [_uid(file)]), tls=own)

    def send(folder: str) -> DeliveryState:
        peer = _peer(server.url, tls={"authorities": tmp_path / folder / "ca.pem"})
        return next(outcome.state for _, outcome in StowSender(5).send(peer, [file]))

    assert send("tls") is DeliveryState.DELIVERED
    assert send("other") is DeliveryState.RETRYING


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("{url: 'ftp://pacs'}", "dicomweb.url"),
        ("{url: 'http://pacs/dicom-web', user: node}", "belong together"),
        ("{url: 'http://pacs/dicom-web'}, storage_commitment: true", "storage_commitment"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, settings: str, words: str) -> None:
    (tmp_path / "node.yaml").write_text(f"peers: [{{name: web, dicomweb: {settings}}}]", encoding="utf-8")

    with pytest.raises(ConfigurationError, match=words):
        load_config(tmp_path / "node.yaml")
