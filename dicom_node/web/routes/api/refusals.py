"""Refusals in the API: what the receiver did not take, and why."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from dicom_node.web.dependencies import Limit, ReadingSession
from dicom_node.web.problems import PROBLEM_RESPONSES
from dicom_node.web.queries.refusals import RefusalPage, list_refusals

router = APIRouter(prefix="/refusals", tags=["refusals"], responses=PROBLEM_RESPONSES)


@router.get("")
def read_refusals(
    session: ReadingSession,
    before: Annotated[int | None, Query(ge=0, lt=1 << 63, description="The 'next' of the page before")] = None,
    limit: Limit = 50,
) -> RefusalPage:
    """Refused associations (``status`` null) and objects, newest first."""
    return list_refusals(session, before=before, limit=limit)
