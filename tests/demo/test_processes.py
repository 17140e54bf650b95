from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dicom_node.demo.processes import Process, ProcessError, listens

SERVER = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(60)"


def test_a_process_runs_while_its_context_is_open(tmp_path: Path, free_port: int) -> None:
    with Process("server", [sys.executable, "-c", SERVER, str(free_port)], tmp_path / "log") as process:
        process.wait_until(lambda: listens(free_port), seconds=20)

    assert not listens(free_port)


def test_a_process_that_ends_before_it_is_ready_is_an_error_with_the_end_of_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; print('the disk is full'); sys.exit(3)"]

    with (
        Process("server", command, tmp_path / "log") as process,
        pytest.raises(ProcessError, match=r"status 3.*\n?.*the disk is full"),
    ):
        process.wait_until(lambda: False, seconds=20)


def test_a_process_that_does_not_get_ready_in_time_is_an_error(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]

    with (
        Process("server", command, tmp_path / "log") as process,
        pytest.raises(ProcessError, match="not ready after 0 s"),
    ):
        process.wait_until(lambda: False, seconds=0.2)
