"""The audit trail for administrators: what is looked for, a page of it, and the whole as CSV or JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Annotated

from fastapi import Depends, Query

from dicom_node.audit.reading import AuditRecord, read_trail
from dicom_node.web.dependencies import CurrentConfig

_DEFAULT_DAYS = 7
_MOST_DAYS = 366


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Audit events, newest first, and how many to skip for those that follow, None at the end."""

    events: tuple[AuditRecord, ...]
    next: int | None


class Trail:
    """The audit events that a request asks for: the last week unless days are given, a year at most."""

    def __init__(
        self,
        config: CurrentConfig,
        q: Annotated[str, Query(max_length=64, description="What occurs in the message: a name, ID, UID, event")] = "",
        first: Annotated[date | None, Query(description="First day (UTC)")] = None,
        last: Annotated[date | None, Query(description="Last day (UTC)")] = None,
    ) -> None:
        self.text = q
        self.last = last or datetime.now(UTC).date()
        earliest = max(date.min, self.last - timedelta(days=min(_MOST_DAYS, self.last.toordinal() - 1)))
        self.first = max(first or self.last - timedelta(days=min(_DEFAULT_DAYS, self.last.toordinal() - 1)), earliest)
        self._folder = config.audit_folder

    def __iter__(self) -> Iterator[AuditRecord]:
        return read_trail(self._folder, self.first, self.last, self.text.strip())

    def page(self, skip: int, limit: int) -> AuditPage:
        """At most ``limit`` events after the first ``skip``."""
        found = tuple(islice(self, skip, skip + limit + 1))
        return AuditPage(found[:limit], skip + limit if len(found) > limit else None)

    def csv(self) -> Iterator[str]:
        """Every event as CSV with a header. What a spreadsheet would take for a formula is marked as text."""
        names = [field.name for field in fields(AuditRecord)]
        yield _row(names)
        for event in self:
            yield _row([_as_text(str(value)) for value in asdict(event).values()])

    def json_lines(self) -> Iterator[str]:
        """Every event as a JSON object on a line."""
        for event in self:
            yield json.dumps(asdict(event), ensure_ascii=False) + "\n"


def _row(values: list[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(values)
    return buffer.getvalue()


def _as_text(value: str) -> str:
    return f"'{value}" if value.startswith(("=", "+", "-", "@")) else value


CurrentTrail = Annotated[Trail, Depends(Trail)]
