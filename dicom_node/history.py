"""Forgets workflows that ended long ago: the workflow engine would keep what it wrote down of each for ever."""

from __future__ import annotations

from datetime import datetime

from dbos import DBOS

_ENDED = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
_AT_ONCE = 500


def forget_workflows(begun_before: datetime) -> int:
    """Remove the engine's rows of workflows that were begun before and have ended; returns how many workflows.

    What they did is in the domain's tables. Their names, which keep the same work from being begun twice, are free
    again afterwards: they must be older than anything that would begin them (``Retention``).
    """
    count = 0
    while ended := DBOS.list_workflows(
        status=_ENDED, end_time=begun_before.isoformat(), limit=_AT_ONCE, load_input=False, load_output=False
    ):
        DBOS.delete_workflows([workflow.workflow_id for workflow in ended])
        count += len(ended)
    return count
