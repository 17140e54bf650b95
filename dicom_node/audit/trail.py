"""Where audit messages go: a file a day that is only appended to, and a syslog server where there is one."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Self

from dicom_node.audit.message import AuditEvent, to_xml
from dicom_node.audit.syslog import Syslog, configured_syslog
from dicom_node.config import Config

log = logging.getLogger(__name__)


class AuditTrail:
    """Writes events as they happen; safe to use from several threads and processes.

    What cannot be written is told in the log, without its content, and stops nobody: a full disk must not keep a
    radiologist from a finding.
    """

    def __init__(self, folder: Path, source_id: str, syslog: Syslog | None = None) -> None:
        self._folder = folder
        self._source_id = source_id
        self._syslog = syslog

    @classmethod
    def configured(cls, config: Config) -> Self:
        """The trail of a node."""
        return cls(config.audit_folder, config.node.ae_title, configured_syslog(config.audit))

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
