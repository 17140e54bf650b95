"""Reports as strict JSON files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CURVES_FILE = "curves.json"


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write a report, with null where a figure is not defined: JSON has no NaN (RFC 8259)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_defined(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _defined(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _defined(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_defined(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content
