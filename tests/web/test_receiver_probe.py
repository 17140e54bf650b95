from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from dicom_node.config import Config
from dicom_node.tables import RefusalRow
from dicom_node.web.attention import Severity, what_is_wrong
from dicom_node.web.readiness import receiver_answers
from tests.receiving_node import ReceivingNode
from tests.web.test_attention import NOW, WELL

pytestmark = pytest.mark.embedded


def test_receiver_that_listens_is_told_from_one_that_does_not_without_a_trace_in_its_refusals(
    start_receiving: Callable[..., ReceivingNode], tmp_path: Path
) -> None:
    node = start_receiving(tmp_path)

    receiver_answers.cache_clear()
    there = receiver_answers(node.config)
    time.sleep(0.3)
    with node.database.reading() as session:
        refused = session.scalars(sa.select(RefusalRow.reason)).all()
    node.stop()
    receiver_answers.cache_clear()

    assert (there, receiver_answers(node.config)) == (True, False)
    assert refused == []


def test_receivers_on_other_machines_are_not_judged() -> None:
    config = Config.model_validate({"node": {"database_url": "postgresql+psycopg://x@nowhere/y"}})

    assert receiver_answers(config) is None


def test_silent_receiver_is_a_problem(config: Config) -> None:
    [item] = what_is_wrong(replace(WELL, receiver_answers=False), config, NOW)

    assert item.severity is Severity.PROBLEM
    assert "nothing can be sent" in item.title
