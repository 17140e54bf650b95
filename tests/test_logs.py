from __future__ import annotations

import json
import logging

import pytest

from dicom_node.log_context import logged_about
from dicom_node.logs import JsonFormatter, TextFormatter, formatter


def _record(message: str, *arguments: object, error: BaseException | None = None) -> logging.LogRecord:
    information = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("dicom_node.workflow", logging.INFO, "", 1, message, arguments, information)


def test_a_json_line_names_the_study_that_it_is_about() -> None:
    with logged_about(study="1.2.3"):
        line = json.loads(JsonFormatter().format(_record("%d objects\nsent", 2)))
    outside = json.loads(JsonFormatter().format(_record("started")))

    assert (line["study"], line["message"], line["level"]) == ("1.2.3", "2 objects\nsent", "INFO")
    assert line["time"].endswith("+00:00")
    assert "study" not in outside


def test_a_line_for_people_ends_with_what_it_is_about() -> None:
    with logged_about(study="1.2.3"), logged_about(destination="archive"):
        line = TextFormatter().format(_record("sent"))

    assert line.endswith("dicom_node.workflow: sent [study=1.2.3 destination=archive]")


def test_an_error_keeps_its_stack_and_loses_the_values_that_it_quotes() -> None:
    name = "Doe^Jane"
    try:
        raise ValueError(name)
    except ValueError as error:
        line = JsonFormatter().format(_record("failed", error=error))

    assert "Doe" not in line
    assert "test_logs.py" in json.loads(line)["error"]
    assert "\n" not in line


@pytest.mark.parametrize(
    ("form", "at_a_terminal", "kind"),
    [("auto", True, TextFormatter), ("auto", False, JsonFormatter), ("json", True, JsonFormatter)],
)
def test_people_at_a_terminal_are_shown_text(form: str, at_a_terminal: bool, kind: type) -> None:
    assert type(formatter(form, at_a_terminal=at_a_terminal)) is kind  # type: ignore[arg-type]
