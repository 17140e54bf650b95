"""The backup that docs/reliability.md describes, made while images arrive, and restored."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.receiving_node import ReceivingNode, ct_image

pytestmark = pytest.mark.embedded

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"


def test_a_backup_made_under_load_is_restored_with_every_instance_that_was_acknowledged_before_it(
    start_receiving: Callable[..., ReceivingNode], tmp_path: Path
) -> None:
    if shutil.which("sqlite3") is None:
        pytest.skip("the sqlite3 command is not installed (Debian: sqlite3)")
    commands = next(
        block
        for block in re.findall(r"```\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.S)
        if ".backup" in block
    )
    node = start_receiving(tmp_path / "data")
    (tmp_path / "data" / "results").mkdir()
    (tmp_path / "backup").mkdir()
    before = [ct_image(size=64) for _ in range(20)]
    assert set(node.send(before)) == {0x0000}
    stopping = threading.Event()

    def keep_sending() -> None:
        while not stopping.is_set():
            node.send([ct_image(size=64) for _ in range(5)])

    sender = threading.Thread(target=keep_sending)
    sender.start()
    try:
        subprocess.run(["sh", "-ec", commands], cwd=tmp_path, check=True)
    finally:
        stopping.set()
        sender.join()
    (tmp_path / "backup").rename(tmp_path / "restored")

    restored = start_receiving(tmp_path / "restored")

    assert {image.SOPInstanceUID for image in before} <= restored.held()
    image = ct_image(size=64)
    assert restored.send([image]) == [0x0000]
    assert image.SOPInstanceUID in restored.held()
