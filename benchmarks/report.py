"""What a benchmark found: rows of figures, notes, and what it held the node to that failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

Figure = str | int | float | None


@dataclass(slots=True)
class Report:
    """``rows`` share their keys, which head the table's columns; units belong to the key ("seconds", "MB/s").

    ``notes`` say in sentences what a reader must know, such as which peer is missing on this machine.
    ``failures`` name promises that were broken; they make the command fail.
    """

    work: str
    rows: list[dict[str, Figure]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The report as it is written to a file."""
        return {"work": self.work, "rows": self.rows, "notes": self.notes, "failures": self.failures}

    def print(self, console: Console) -> None:
        """Print the report as a table with its notes."""
        table = Table(title=self.work, title_justify="left")
        if self.rows:
            for column, value in self.rows[0].items():
                table.add_column(column, justify="left" if isinstance(value, str) else "right")
        for row in self.rows:
            table.add_row(*(in_words(value) for value in row.values()))
        console.print(table)
        for note in self.notes:
            console.print(note, highlight=False)
        for failure in self.failures:
            console.print(f"[bold red]FAILED[/bold red] {failure}", highlight=False)


def in_words(value: Figure) -> str:
    """A figure with three significant digits; a dash where there is none."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)
