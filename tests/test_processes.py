"""What the processes of a node owe one another."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

from dicom_node.processes import only_process

HOLDER = """
import sys, threading, time
from pathlib import Path
from dicom_node.processes import only_process
with only_process(Path(sys.argv[1]), threading.Event()):
    print("held", flush=True)
    time.sleep(3600)
"""


def _holder(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_worker_waits_for_the_one_before_it_to_end_however_that_ends(tmp_path: Path) -> None:
    path = tmp_path / "worker-1.lock"
    before = _holder(path)
    entered: list[float] = []

    def take_over() -> None:
        with only_process(path, threading.Event()) as alone:
            assert alone
            entered.append(time.monotonic())

    waiting = threading.Thread(target=take_over)
    waiting.start()
    time.sleep(0.6)
    assert entered == []
    killed = time.monotonic()
    before.kill()
    waiting.join(30)

    assert entered[0] >= killed
    before.wait()


def test_a_worker_that_is_told_to_stop_while_it_waits_does_no_work(tmp_path: Path) -> None:
    path = tmp_path / "worker-1.lock"
    before = _holder(path)
    stopping = threading.Event()
    threading.Timer(0.3, stopping.set).start()

    with only_process(path, stopping) as alone:
        assert not alone

    before.kill()
    before.wait()
