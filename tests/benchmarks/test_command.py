"""The benchmarks' command: table, JSON, exit status, and turns."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

import pytest

from benchmarks import command
from benchmarks.report import Report
from benchmarks.rounds import interleaved


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=1.5)


def run(arguments: argparse.Namespace) -> Report:
    """This module is a benchmark itself."""
    failures = ["too slow"] if arguments.seconds > 2 else []
    return Report("work", [{"name": "node", "seconds": arguments.seconds}], ["storescp is missing."], failures)


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(command.BENCHMARKS, "this", __name__)


def test_the_report_is_printed_with_machine_rows_and_notes(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["this"]) == 0

    printed = capsys.readouterr().out
    for text in ("python -m benchmarks this", "processor:", "disk:", "node", "1.5", "storescp is missing."):
        assert text in printed


def test_json_goes_where_it_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.main(["this", "--json", str(tmp_path / "out.json")])
    capsys.readouterr()
    command.main(["this", "--json"])

    written, printed = json.loads((tmp_path / "out.json").read_text()), json.loads(capsys.readouterr().out)
    assert written["rows"] == printed["rows"] == [{"name": "node", "seconds": 1.5}]
    assert {"processor", "memory", "disk", "system", "packages"} <= set(written["machine"])


def test_a_broken_promise_fails_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["this", "--seconds", "3"]) == 1

    assert "too slow" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["receive", "receive-large"])
def test_a_benchmark_can_be_asked_for_its_options(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main([name, "--help"])

    assert ended.value.code == 0
    assert "--json" in capsys.readouterr().out


def test_competitors_take_turns_at_being_first() -> None:
    order: list[str] = []

    def competitor(name: str) -> float:
        order.append(name)
        return 1.0

    figures = interleaved({name: partial(competitor, name) for name in "abc"}, rounds=3)

    assert order == [*"abc", *"bca", *"cab"]
    assert figures == {name: [1.0] * 3 for name in "abc"}
