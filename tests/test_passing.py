"""Which faults are waited for, and how."""

from __future__ import annotations

import errno
import sqlite3
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from dicom_node import passing
from dicom_node.passing import in_words, passes, patiently


class Step:
    """Fails as often as it is told to, each time with what it is given."""

    def __init__(self, *faults: Exception) -> None:
        self.stopping = threading.Event()
        self.faults = list(faults)
        self.tries = 0

    @patiently
    def run(self, answer: str) -> str:
        self.tries += 1
        if self.faults:
            raise self.faults.pop(0)
        return answer


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passing, "_FIRST_PAUSE_SECONDS", 0.01)


def _of_sqlite(tmp_path: Path, statement: str) -> sa.exc.OperationalError:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'x'}", connect_args={"timeout": 0.01})
    with pytest.raises(sa.exc.OperationalError) as caught, engine.connect() as connection:
        connection.execute(sa.text(statement))
    return caught.value


def test_a_lock_passes_and_a_wrong_statement_does_not(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "x") as other:
        other.execute("CREATE TABLE t (x)")
        other.execute("INSERT INTO t VALUES (1)")
        locked = _of_sqlite(tmp_path, "INSERT INTO t VALUES (2)")

    assert passes(locked)
    assert in_words(locked) == "database is locked"
    assert not passes(_of_sqlite(tmp_path, "SELECT * FROM nothing"))


def test_a_full_disk_passes_and_a_missing_file_does_not() -> None:
    assert passes(OSError(errno.ENOSPC, "No space left on device", "/a/file"))
    assert in_words(OSError(errno.ENOSPC, "No space left on device", "/a/file")) == "No space left on device"
    assert not passes(FileNotFoundError(errno.ENOENT, "No such file or directory"))
    assert not passes(ValueError("Doe^Jane"))


def test_a_step_is_repeated_until_the_fault_is_over() -> None:
    step = Step(*(OSError(errno.ENOSPC, "full") for _ in range(4)))

    assert step.run("done") == "done"
    assert step.tries == 5


def test_a_fault_that_does_not_pass_is_told_at_once() -> None:
    step = Step(ValueError("broken"))

    with pytest.raises(ValueError, match="broken"):
        step.run("done")

    assert step.tries == 1


def test_nobody_waits_for_a_fault_any_longer_when_the_worker_stops() -> None:
    step = Step(*(OSError(errno.EROFS, "read-only") for _ in range(1000)))
    step.stopping.set()

    with pytest.raises(SystemExit):
        step.run("done")

    assert step.tries == 1
