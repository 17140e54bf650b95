"""How the database carries out the statements of a page, and which of them would read a whole table."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

GROWING = frozenset(
    {
        "studies",
        "series",
        "instances",
        "analyses",
        "decisions",
        "findings",
        "results",
        "deliveries",
        "events",
        "refusals",
        "model_inputs",
        "shadow_findings",
    }
)
"""The tables that grow with every study. Verdicts do with what people say, and a model's page counts all of them."""

Statement = tuple[str, Any]


@contextmanager
def noted_statements(engine: sa.Engine) -> Iterator[list[Statement]]:
    """The SELECT statements that are carried out inside, each once, with their values."""
    noted: dict[str, Any] = {}

    def note(_connection: object, _cursor: object, statement: str, values: Any, *_rest: object) -> None:
        if statement.lstrip().startswith(("SELECT", "WITH")):
            noted.setdefault(statement, values)

    found: list[Statement] = []
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
        found += noted.items()


def whole_tables(engine: sa.Engine, statements: list[Statement]) -> list[str]:
    """What would be read whole, as the database says: the table, and the statement."""
    look = _sqlite_scans if engine.dialect.name == "sqlite" else _postgresql_scans
    found = []
    with engine.connect() as connection:
        for statement, values in statements:
            found += [f"{table}: {statement}" for table in look(connection, statement, values)]
    return found


def _sqlite_scans(connection: sa.Connection, statement: str, values: Any) -> set[str]:
    plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
    # In the order of an index or key, and without a condition, only as many rows are read as the limit says.
    ordered = not any("TEMP B-TREE" in step for step in plan)
    if ordered and "LIMIT" in statement and "WHERE" not in statement:
        return set()
    scanned = {match[1] for step in plan if (match := re.match(r"SCAN (\w+)", step))}
    return scanned & GROWING


def _postgresql_scans(connection: sa.Connection, statement: str, values: Any) -> set[str]:
    found = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", values).scalar_one()
    plan = found if isinstance(found, list) else json.loads(found)
    return {node["Relation Name"] for node in _nodes(plan[0]["Plan"]) if node["Node Type"] == "Seq Scan"} & GROWING


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)
