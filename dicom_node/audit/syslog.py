"""Audit messages to a syslog server (RFC 5424): over UDP, a local socket, or TLS."""

from __future__ import annotations

import atexit
import logging
import os
import queue
import socket
import ssl
import threading
from typing import Protocol
from urllib.parse import urlsplit

from dicom_node.audit.message import AuditEvent
from dicom_node.config import AuditSection, ConfigurationError, PeerTls
from dicom_node.tls import caller_context, what_went_wrong

log = logging.getLogger(__name__)

_PRIORITY = 10 * 8 + 5  # facility security/authorization, severity notice (PS3.15 A.6)
_MESSAGE_ID = "DICOM+RFC3881"
_PORT, _TLS_PORT = 514, 6514
_CONNECT_SECONDS = 10.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 60.0
_MOST_WAITING = 10_000
_LAST_WORDS_SECONDS = 3.0


class Syslog(Protocol):
    """A way to a syslog server."""

    def send(self, event: AuditEvent, message: str) -> None:
        """Send one message; never waits, and tells in the log what could not be sent, without its content."""


def configured_syslog(settings: AuditSection) -> Syslog | None:
    """The way that ``audit.syslog`` names, None where it names none."""
    if settings.syslog is None:
        return None
    parts = urlsplit(settings.syslog)
    if parts.scheme == "unix":
        return DatagramSyslog(socket.AF_UNIX, parts.path)
    host = parts.hostname or ""
    if parts.scheme == "tls" and settings.syslog_tls is not None:
        return TlsSyslog(host, parts.port or _TLS_PORT, settings.syslog_tls)
    return DatagramSyslog(socket.AF_INET6 if ":" in host else socket.AF_INET, (host, parts.port or _PORT))


class DatagramSyslog:
    """One datagram a message (RFC 5426), over UDP or a local socket; nobody knows whether it arrives."""

    def __init__(self, family: socket.AddressFamily, target: str | tuple[str, int]) -> None:
        self._family, self._target = family, target

    def send(self, event: AuditEvent, message: str) -> None:
        """See ``Syslog``."""
        try:
            with socket.socket(self._family, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(_record(event, message), self._target)
        except OSError as error:
            log.error("an audit event (%s) could not be sent to syslog: %s", event.event.meaning, error.strerror)


class TlsSyslog:
    """One connection (RFC 5425), which a thread opens when there is something to send, and anew when it has ended.

    Messages wait while the server is away, ``_MOST_WAITING`` of them; what comes then is in the file only.
    """

    def __init__(self, host: str, port: int, settings: PeerTls) -> None:
        self._host, self._port, self._settings = host, port, settings
        self._waiting: queue.Queue[bytes | None] = queue.Queue(_MOST_WAITING)
        self._connection: ssl.SSLSocket | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ending = threading.Event()

    def send(self, event: AuditEvent, message: str) -> None:
        """See ``Syslog``."""
        record = _record(event, message)
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="audit-syslog", daemon=True)
                self._thread.start()
                atexit.register(self._end)
        try:
            self._waiting.put_nowait(b"%d %s" % (len(record), record))
        except queue.Full:
            log.error("an audit event (%s) could not be sent to syslog: too many wait for it", event.event.meaning)

    def _run(self) -> None:
        while (frame := self._waiting.get()) is not None:
            pause = _FIRST_PAUSE_SECONDS
            while not self._sent(frame):
                if self._ending.wait(pause):
                    return
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _sent(self, frame: bytes) -> bool:
        try:
            if self._connection is None or _has_ended(self._connection):
                self._connection = self._connect()
            self._connection.sendall(frame)
        except (OSError, ConfigurationError) as error:
            self._connection = None
            words = what_went_wrong(error) if isinstance(error, ssl.SSLError) else str(error)
            log.error("audit events wait for the syslog server at %s:%d: %s", self._host, self._port, words)
            return False
        return True

    def _connect(self) -> ssl.SSLSocket:
        context = caller_context(self._settings)
        plain = socket.create_connection((self._host, self._port), _CONNECT_SECONDS)
        return context.wrap_socket(plain, server_hostname=self._host)

    def _end(self) -> None:
        """Give the last messages of a process that ends some seconds; those that wait longer are in the file."""
        self._ending.set()
        if self._thread is not None:
            try:
                self._waiting.put_nowait(None)
            except queue.Full:
                return
            self._thread.join(_LAST_WORDS_SECONDS)


def _has_ended(connection: ssl.SSLSocket) -> bool:
    """Whether the server has hung up. Without a look, the first message after that would be lost without an error."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except ssl.SSLWantReadError:
        return False
    except OSError:
        return True
    finally:
        connection.settimeout(_CONNECT_SECONDS)


def _record(event: AuditEvent, message: str) -> bytes:
    at = event.at.isoformat(timespec="milliseconds")
    header = f"<{_PRIORITY}>1 {at} {socket.gethostname()} dicom-node {os.getpid()} {_MESSAGE_ID} -"
    return f"{header} \N{ZERO WIDTH NO-BREAK SPACE}{message}".encode()
