"""The benchmarks by name, and what is the same for each: arguments, table, JSON, exit status."""

from __future__ import annotations

import argparse
import importlib
import json
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from benchmarks.machine import describe
from benchmarks.report import Report

BENCHMARKS: dict[str, str] = {
    "faults": "benchmarks.faults",
    "fuzz": "benchmarks.fuzz",
    "infer": "benchmarks.infer",
    "receive": "benchmarks.receive",
    "receive-large": "benchmarks.receive_large",
    "study": "benchmarks.study",
    "day": "benchmarks.day",
    "http": "benchmarks.http",
    "pages": "benchmarks.pages",
    "workers": "benchmarks.workers",
}
"""Name on the command line to module."""


class Benchmark(Protocol):
    """A benchmark's module."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare its own options."""

    def run(self, arguments: argparse.Namespace) -> Report:
        """Measure."""


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark that ``arguments`` name; returns the exit status, 1 where what it holds the node to fails."""
    parser = argparse.ArgumentParser("python -m benchmarks", description="Speed against real peers.")
    commands = parser.add_subparsers(dest="name", metavar="NAME", required=True)
    chosen = next((argument for argument in arguments if argument in BENCHMARKS), None)
    for name, module_name in BENCHMARKS.items():
        # Only the chosen one is imported: the others' libraries may be missing, and take seconds.
        if chosen in (None, name):
            module: Any = importlib.import_module(module_name)
            benchmark: Benchmark = module
            command = commands.add_parser(name, description=module.__doc__, help=module.__doc__)
            command.add_argument("--json", nargs="?", const="-", metavar="OUT", help="write JSON to OUT, or print it")
            benchmark.add_arguments(command)
    parsed = parser.parse_args(arguments)
    report = importlib.import_module(BENCHMARKS[parsed.name]).run(parsed)
    result = {
        "benchmark": parsed.name,
        "command": shlex.join(["python", "-m", "benchmarks", *arguments]),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe(),
        **report.as_json(),
    }
    if parsed.json == "-":
        print(json.dumps(result, indent=2))  # noqa: T201 - it is what was asked for
    else:
        _print(result, report)
        if parsed.json is not None:
            Path(parsed.json).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 1 if report.failures else 0


def _print(result: dict[str, Any], report: Report) -> None:
    console = Console()
    console.width = max(console.width, 120)
    console.print(f"[bold]{result['command']}[/bold], {result['measured_at']}", highlight=False)
    for key, value in result["machine"].items():
        console.print(f"  {key}: {value}", highlight=False)
    report.print(console)
