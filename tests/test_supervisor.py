"""The supervisor, with a real node's processes: what is killed comes back, and nothing is left behind."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from dicom_node.supervisor import Child


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def _wait(condition, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_child_that_ends_is_started_again_after_growing_pauses(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    child = Child("short", [sys.executable, "-c", f"open({str(starts)!r}, 'a').write('x')"])
    clock = 0.0
    seen = []

    while clock < 8:
        child.tend(clock)
        time.sleep(0.05)
        count = starts.stat().st_size if starts.exists() else 0
        if count != len(seen):
            seen.append(clock)
        clock += 0.1
    child.wait(0)

    pauses = [later - earlier for earlier, later in itertools.pairwise(seen)]
    assert len(pauses) >= 2
    assert pauses == sorted(pauses)


def test_a_child_ends_with_its_supervisor_however_that_ends(tmp_path: Path) -> None:
    child_code = (
        "import os, time; from dicom_node.parent import end_with_parent; end_with_parent();"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    )
    parent_code = (
        "import sys, time; from dicom_node.supervisor import Child;"
        f"child = Child('child', [sys.executable, '-c', {child_code!r}]); child.tend(time.monotonic()); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", parent_code])
    _wait(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    pid = int((tmp_path / "pid").read_text())

    parent.send_signal(signal.SIGKILL)
    parent.wait()

    _wait(lambda: not _alive(pid))
