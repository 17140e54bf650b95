"""Audit messages over TLS, to a server that may go away."""

from __future__ import annotations

import logging
import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from lxml import etree
from pydantic import ValidationError

from dicom_node.audit import message
from dicom_node.audit.message import Action, AuditEvent, Participant
from dicom_node.audit.syslog import configured_syslog
from dicom_node.audit.trail import AuditTrail
from dicom_node.certificates import make_certificates
from dicom_node.config import AuditSection
from dicom_node.database import now
from dicom_node.demo.processes import free_port
from tests.audit.schema import SCHEMA

JANE = Participant("jane", is_requestor=True, address="10.0.0.1")
EVENT = AuditEvent(
    message.USER_AUTHENTICATION, Action.EXECUTE, datetime(2026, 3, 4, tzinfo=UTC), (JANE,), message.LOGIN
)


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    make_certificates(tmp_path / "tls", ["server", "node"], ["127.0.0.1"], 30, now())
    return tmp_path / "tls"


def _settings(port: int, folder: Path) -> AuditSection:
    files = {"authorities": folder / "ca.pem", "certificate": folder / "node.pem", "key": folder / "node.key"}
    return AuditSection(syslog=f"tls://127.0.0.1:{port}", syslog_tls=files)


@contextmanager
def _serving(port: int, folder: Path) -> Iterator[ssl.SSLSocket]:
    """A server that asks for the node's certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    context.load_verify_locations(folder / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", port)) as plain, context.wrap_socket(plain, server_side=True) as server:
        server.settimeout(20)
        yield server


def _frames(connection: ssl.SSLSocket, count: int) -> list[str]:
    """Messages by octet counting (RFC 5425 4.3)."""
    connection.settimeout(20)
    content, frames = b"", []
    while len(frames) < count:
        found = re.match(rb"(\d+) ", content)
        if found and len(content) >= found.end() + int(found[1]):
            end = found.end() + int(found[1])
            frames.append(content[found.end() : end].decode())
            content = content[end:]
        else:
            content += connection.recv(65536)
    assert content == b""
    return frames


def test_events_arrive_in_order_over_a_connection_in_which_both_sides_are_known(
    tmp_path: Path, certificates: Path
) -> None:
    port = free_port()
    trail = AuditTrail(tmp_path / "audit", "NODE", configured_syslog(_settings(port, certificates)))

    with _serving(port, certificates) as server:
        for _ in range(3):
            trail.record(EVENT)
        connection, _ = server.accept()
        with connection:
            frames = _frames(connection, 3)
            assert connection.getpeercert()["subject"] == ((("commonName", "node"),),)

    for frame in frames:
        header, _, body = frame.partition("\ufeff")
        assert header.startswith("<85>1 2026-03-04T00:00:00.000+00:00 ")
        assert SCHEMA.validate(etree.fromstring(body.encode()))


def test_events_wait_for_a_server_that_went_away(
    tmp_path: Path, certificates: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    trail = AuditTrail(tmp_path / "audit", "NODE", configured_syslog(_settings(port, certificates)))
    with _serving(port, certificates) as server:
        trail.record(EVENT)
        connection, _ = server.accept()
        _frames(connection, 1)
        connection.close()

    began = time.monotonic()
    with caplog.at_level(logging.ERROR):
        trail.record(EVENT)
        trail.record(EVENT)
        assert time.monotonic() - began < 0.5, "whoever does something that is audited does not wait"
        while "audit events wait" not in caplog.text:
            time.sleep(0.02)
    with _serving(port, certificates) as server:
        connection, _ = server.accept()
        with connection:
            assert len(_frames(connection, 2)) == 2


def test_a_server_of_another_authority_gets_nothing(
    tmp_path: Path, certificates: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / "other"
    make_certificates(other, ["server", "node"], ["127.0.0.1"], 30, now())
    port = free_port()
    trail = AuditTrail(tmp_path / "audit", "NODE", configured_syslog(_settings(port, certificates)))

    with _serving(port, other) as server, caplog.at_level(logging.ERROR):
        trail.record(EVENT)
        with pytest.raises(ssl.SSLError):
            server.accept()
        while "audit events wait" not in caplog.text:
            time.sleep(0.02)

    assert "authority is not among the authorities that are trusted" in caplog.text


def test_syslog_over_tls_without_whom_to_trust_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"syslog_tls\.authorities"):
        AuditSection(syslog="tls://logs.example")
