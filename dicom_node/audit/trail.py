"""Where audit messages go: a file a day that is only appended to, and a syslog server (RFC 5424) where there is one."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from dicom_node.audit.message import AuditEvent, to_xml

log = logging.getLogger(__name__)

_PRIORITY = 10 * 8 + 5  # facility security/authorization, severity notice (PS3.15 A.6)
_MESSAGE_ID = "DICOM+RFC3881"
_SYSLOG_PORT = 514


class AuditTrail:
    """Writes events as they happen; safe to use from several threads and processes.

    What cannot be written is told in the log, without its content, and stops nobody: a full disk must not keep a
    radiologist from a finding.
    """

    def __init__(self, folder: Path, source_id: str, syslog: str | None = None) -> None:
        self._folder = folder
        self._source_id = source_id
        self._syslog = Syslog(syslog) if syslog else None

    def record(self, event: AuditEvent) -> None:
        """Write down one event."""
        message = to_xml(event, self._source_id)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self._folder / f"{event.at:%Y-%m-%d}.log"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(descriptor, f"{message}\n".encode())  # one write: lines of several processes never mix
            finally:
                os.close(descriptor)
        except OSError as error:
            log.error("an audit event (%s) could not be written: %s", event.event.meaning, error.strerror)
        if self._syslog is not None:
            self._syslog.send(event, message)


class Syslog:
    """Sends to ``udp://host:port`` (RFC 5426) or ``unix:/dev/log``; never waits."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._target: str | tuple[str, int]
        if parts.scheme == "unix":
            self._family, self._target = socket.AF_UNIX, parts.path
        else:
            host = parts.hostname or ""
            self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._target = (host, parts.port or _SYSLOG_PORT)

    def send(self, event: AuditEvent, message: str) -> None:
        """Send one message."""
        at = event.at.isoformat(timespec="milliseconds")
        header = f"<{_PRIORITY}>1 {at} {socket.gethostname()} dicom-node {os.getpid()} {_MESSAGE_ID} -"
        try:
            with socket.socket(self._family, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(f"{header} \N{ZERO WIDTH NO-BREAK SPACE}{message}".encode(), self._target)
        except OSError as error:
            log.error("an audit event (%s) could not be sent to syslog: %s", event.event.meaning, error.strerror)
