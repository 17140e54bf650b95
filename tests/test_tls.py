"""DICOM TLS with DCMTK and pynetdicom on the other side, in both roles, and what is said where it does not work."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context
from pynetdicom.sop_class import CTImageStorage, Verification

from dicom_node.certificates import CertificateError, make_certificates
from dicom_node.config import Config, ConfigurationError, Peer, PeerTls, ReceiverTls
from dicom_node.deliver.sender import Sender
from dicom_node.demo.processes import Process, free_port, listens
from dicom_node.domain import Association, DeliveryState
from dicom_node.receive.receiver import Receiver
from dicom_node.receive.refusal import Reason
from dicom_node.tls import CIPHER_SUITES, receiver_context

HOSTS = ["localhost", "127.0.0.1"]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates by one authority, one by another, and one that has expired."""
    folder = tmp_path_factory.mktemp("certificates")
    at = datetime.now(UTC)
    make_certificates(folder, ["node", "peer"], HOSTS, 1, at)
    make_certificates(folder, ["expired"], HOSTS, 1, at - timedelta(days=2))
    make_certificates(folder, ["elsewhere"], ["pacs.example"], 1, at)
    make_certificates(folder / "stranger", ["stranger"], HOSTS, 1, at)
    return folder


class Sink:
    def __init__(self) -> None:
        self.received: list[bytes] = []

    def accept(self, path: Path, association: Association) -> None:
        self.received.append(path.read_bytes())


class Refusals:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def record(self, association: Association, reason: Reason, text: str, sop_instance_uid: str = "") -> None:
        self.texts.append(text)


class TlsReceiver:
    """A receiver that speaks TLS only."""

    def __init__(self, folder: Path, certificates: Path, *, mutual: bool) -> None:
        self.port, self.sink, self.refusals = free_port(), Sink(), Refusals()
        tls = {"port": self.port, "certificate": certificates / "node.pem", "key": certificates / "node.key"}
        if mutual:
            tls["authorities"] = certificates / "ca.pem"
        settings = {"host": "127.0.0.1", "plain": False, "tls": tls, "minimum_free_megabytes": 0}
        config = Config.model_validate({"node": {"data_folder": folder}, "receive": settings})
        config.incoming_folder.mkdir(parents=True)
        self.receiver = Receiver(config, self.sink, self.refusals)
        self.receiver.start()

    def peer(self, **tls: Any) -> Peer:
        return Peer(name="node", ae_title="DICOMNODE", host="127.0.0.1", port=self.port, tls=PeerTls(**tls))


StartReceiver = Callable[..., TlsReceiver]


@pytest.fixture
def start(tmp_path: Path, certificates: Path) -> Iterator[StartReceiver]:
    started: list[TlsReceiver] = []

    def run(*, mutual: bool = False) -> TlsReceiver:
        started.append(TlsReceiver(tmp_path / "data", certificates, mutual=mutual))
        return started[-1]

    yield run
    for one in started:
        one.receiver.stop()


@pytest.fixture
def image(tmp_path: Path, phantom_chest_ct: list[Dataset]) -> Path:
    path = tmp_path / "image.dcm"
    phantom_chest_ct[0].save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def dcmtk(certificates: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs DCMTK's storescu against a port, with the options given."""
    program = shutil.which("storescu")
    if program is None:
        pytest.skip("storescu (dcmtk) is not installed")

    def send(port: int, image: Path, *options: str) -> subprocess.CompletedProcess[str]:
        command = [program, "-v", *options, "-aec", "DICOMNODE", "127.0.0.1", str(port), str(image)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=certificates)

    return send


def test_dcmtk_stores_over_tls_without_and_with_a_certificate(
    start: StartReceiver, image: Path, dcmtk: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    receiver = start()

    one_way = dcmtk(receiver.port, image, "+tla", "+cf", "ca.pem")
    mutual = dcmtk(receiver.port, image, "+tls", "peer.key", "peer.pem", "+cf", "ca.pem")

    assert (one_way.returncode, mutual.returncode) == (0, 0), one_way.stderr + mutual.stderr
    assert len(receiver.sink.received) == 2


def test_receiver_with_authorities_takes_only_callers_that_they_have_signed(
    start: StartReceiver, image: Path, dcmtk: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    receiver = start(mutual=True)

    signed = dcmtk(receiver.port, image, "+tls", "peer.key", "peer.pem", "+cf", "ca.pem")
    without = dcmtk(receiver.port, image, "+tla", "+cf", "ca.pem")
    stranger = dcmtk(receiver.port, image, "+tls", "stranger/stranger.key", "stranger/stranger.pem", "+cf", "ca.pem")
    expired = dcmtk(receiver.port, image, "+tls", "expired.key", "expired.pem", "+cf", "ca.pem")

    assert signed.returncode == 0, signed.stderr
    assert all(refused.returncode != 0 for refused in (without, stranger, expired))
    assert len(receiver.sink.received) == 1
    said = " ".join(receiver.refusals.texts)
    assert "the caller shows no certificate" in said
    assert "authority is not among the authorities" in said
    assert "the certificate has expired" in said


def test_plain_caller_gets_nowhere_on_the_tls_port_and_the_receiver_goes_on(
    start: StartReceiver, image: Path, certificates: Path
) -> None:
    receiver = start()
    plain = AE("PLAIN")
    plain.acse_timeout = plain.network_timeout = 3

    association = plain.associate("127.0.0.1", receiver.port, [build_context(Verification)], ae_title="DICOMNODE")

    assert not association.is_established
    assert "does not speak TLS on this port" in receiver.refusals.texts[0]
    assert Sender("SENDER", 5).echo(receiver.peer(authorities=certificates / "ca.pem")) is None


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_receiver_speaks_no_tls_before_1_2(start: StartReceiver, certificates: Path, version: ssl.TLSVersion) -> None:
    receiver = start()
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = version

    with socket.create_connection(("127.0.0.1", receiver.port)) as plain, pytest.raises(OSError):
        context.wrap_socket(plain, server_hostname="127.0.0.1")


def test_contexts_offer_the_suites_of_the_profile_and_no_other(certificates: Path) -> None:
    context = receiver_context(
        ReceiverTls(certificate=certificates / "node.pem", key=certificates / "node.key", authorities=None)
    )

    offered = {cipher["name"] for cipher in context.get_ciphers()}

    assert {name for name in offered if not name.startswith("TLS_")} == set(CIPHER_SUITES)


@pytest.fixture
def storescp(tmp_path: Path, certificates: Path) -> Iterator[Callable[..., int]]:
    """Starts DCMTK's storescp with TLS under one of the certificates; returns its port."""
    program = shutil.which("storescp")
    if program is None:
        pytest.skip("storescp (dcmtk) is not installed")
    running: list[Process] = []

    def run(name: str = "peer", *options: str) -> int:
        port, folder = free_port(), tmp_path / name
        folder.mkdir()
        files = [str(certificates / f"{name}.{ending}") for ending in ("key", "pem")]
        ca = str(certificates / "ca.pem")
        command = [program, "+tls", *files, "+cf", ca, *options, "-aet", "ARCHIVE", "-od", str(folder), str(port)]
        running.append(Process("storescp", command, tmp_path / f"{name}.log"))
        running[-1].start()
        running[-1].wait_until(lambda: listens(port), 20.0)
        return port

    yield run
    for process in running:
        process.stop()


def _archive(port: int, **tls: Any) -> Peer:
    return Peer(name="archive", ae_title="ARCHIVE", host="127.0.0.1", port=port, tls=PeerTls(**tls) if tls else None)


def test_results_go_to_dcmtk_over_mutual_tls(
    storescp: Callable[..., int], certificates: Path, image: Path, tmp_path: Path
) -> None:
    own = {"certificate": certificates / "node.pem", "key": certificates / "node.key"}
    peer = _archive(storescp(), authorities=certificates / "ca.pem", **own)

    [(_, attempt)] = Sender("NODE", 10).send(peer, [image])

    assert attempt.state is DeliveryState.DELIVERED, attempt.message
    assert len(list((tmp_path / "peer").iterdir())) == 1


def test_missing_certificate_of_the_node_is_told(storescp: Callable[..., int], certificates: Path, image: Path) -> None:
    [(_, attempt)] = Sender("NODE", 5).send(_archive(storescp(), authorities=certificates / "ca.pem"), [image])

    assert attempt.state is DeliveryState.RETRYING
    assert "requires a certificate" in attempt.message or "ended the TLS handshake" in attempt.message


@pytest.mark.parametrize(
    ("name", "authority", "words"),
    [
        ("peer", "stranger/ca.pem", "not among the authorities that are trusted"),
        ("expired", "ca.pem", "the certificate has expired"),
        ("elsewhere", "ca.pem", "use a name or address that it holds"),
    ],
)
def test_certificate_that_does_not_hold_is_told(
    storescp: Callable[..., int], certificates: Path, name: str, authority: str, words: str
) -> None:
    peer = _archive(storescp(name, "-ic"), authorities=certificates / authority)

    problem = Sender("NODE", 5).echo(peer)

    assert problem is not None
    assert "no TLS with ARCHIVE at 127.0.0.1" in problem
    assert words in problem


def test_host_name_is_not_checked_where_the_configuration_says_so(
    storescp: Callable[..., int], certificates: Path
) -> None:
    peer = _archive(storescp("elsewhere", "-ic"), authorities=certificates / "ca.pem", check_host=False)

    assert Sender("NODE", 5).echo(peer) is None


def test_peer_that_speaks_no_tls_is_told(storage_scp: Any, certificates: Path) -> None:
    problem = Sender("NODE", 3).echo(_archive(storage_scp.port, authorities=certificates / "ca.pem"))

    assert problem is not None
    assert "TLS on this port" in problem


def test_plain_call_of_a_tls_peer_names_tls_among_what_to_check(storescp: Callable[..., int]) -> None:
    problem = Sender("NODE", 3).echo(_archive(storescp()))

    assert problem is not None
    assert "TLS" in problem


def test_unusable_certificates_are_told_and_nothing_is_lost(certificates: Path, image: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("nothing")

    [(_, attempt)] = Sender("NODE", 3).send(_archive(1, authorities=broken), [image])

    assert attempt.state is DeliveryState.RETRYING
    assert str(broken) in attempt.message
    with pytest.raises(ConfigurationError, match="belong together"):
        receiver_context(ReceiverTls(certificate=certificates / "node.pem", key=certificates / "peer.key"))


def test_authority_is_used_again_and_nothing_is_overwritten(certificates: Path) -> None:
    with pytest.raises(CertificateError, match="there already"):
        make_certificates(certificates, ["node"], HOSTS, 1, datetime.now(UTC))

    assert (certificates / "ca.key").stat().st_mode & 0o077 == 0


def test_pynetdicom_is_answered_over_tls(start: StartReceiver, certificates: Path, image: Path) -> None:
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    entity, port = AE("CALLER"), start().port

    association = entity.associate(
        "127.0.0.1", port, [build_context(CTImageStorage)], ae_title="DICOMNODE", tls_args=(context, "127.0.0.1")
    )

    assert association.is_established
    assert association.send_c_store(image).Status == 0
    association.release()
