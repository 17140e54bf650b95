from __future__ import annotations

import os
from pathlib import Path

import pydicom
import pytest

from dicom_node.results.file import write_result
from tests.results import cases


def test_result_is_durable_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack, sources = cases.ct()
    (made,) = cases.built(stack, sources, cases.finding(stack))
    path = tmp_path / "study" / "report.dcm"
    existed_when_synced: list[bool] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        existed_when_synced.append(path.exists())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    write_result(made, path)

    # The content before the rename, then the folder that holds the new name.
    assert existed_when_synced == [False, True]
    assert pydicom.dcmread(path).SOPInstanceUID == made.SOPInstanceUID
    assert list(path.parent.iterdir()) == [path]


def test_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack, sources = cases.ct()
    (made,) = cases.built(stack, sources, cases.finding(stack))
    path = tmp_path / "report.dcm"
    path.write_bytes(b"before")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_result(made, path)

    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]
