"""Ends a process whose parent is gone, however that ended, so that no orphan holds a port or a processor."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time

log = logging.getLogger(__name__)

PARENT_VARIABLE = "DICOM_NODE_PARENT"
"""The process to end with; without it, nobody is watched."""


def end_with_parent() -> None:
    """Send this process SIGTERM as soon as the one that started it is gone."""
    parent = os.environ.get(PARENT_VARIABLE)
    if parent is None:
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(0.5)
        log.error("the process that started this one is gone; stopping")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
