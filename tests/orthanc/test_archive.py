"""What an Orthanc newer than the installed one is asked."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from node_routing.archive import Archive
from node_routing.selection import Series, Study


def scripted(version: str, written: list[str]) -> SimpleNamespace:
    """The module ``orthanc`` of a given version, which adds the paths of what is put to ``written``."""
    answers: dict[str, Any] = {"/system": {"Version": version}, "/series/b/metadata": []}
    return SimpleNamespace(
        OrthancException=RuntimeError,
        RestApiGet=lambda path: json.dumps(answers[path]).encode(),
        RestApiPut=lambda path, _body: written.append(path),
    )


@pytest.mark.parametrize(
    ("version", "labels"),
    [
        ("1.10.1", []),
        ("1.12.5", ["/studies/a/labels/ai-result", "/series/b/labels/ai-result"]),
        ("mainline", ["/studies/a/labels/ai-result", "/series/b/labels/ai-result"]),
    ],
)
def test_results_get_a_label_where_orthanc_has_labels(version: str, labels: list[str]) -> None:
    written: list[str] = []
    result = Series("b", {"Manufacturer": "dicom-node"}, ("c",))

    Archive(scripted(version, written)).mark_result(result, Study("a", "1.2.3", True, {}, (result,), {}))

    assert [path for path in written if "/labels/" in path] == labels
    assert [path for path in written if path.endswith("AiResult")] == [
        "/studies/a/metadata/AiResult",
        "/series/b/metadata/AiResult",
    ]
