"""Requests for storage commitment in the API: who asked for how much, and what was answered."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from dicom_node.web.dependencies import Limit, ReadingSession
from dicom_node.web.problems import PROBLEM_RESPONSES
from dicom_node.web.queries.commitments import CommitmentRequestPage, list_commitment_requests

router = APIRouter(prefix="/commitment-requests", tags=["storage commitment"], responses=PROBLEM_RESPONSES)


@router.get("")
def read_commitment_requests(
    session: ReadingSession,
    before: Annotated[int | None, Query(ge=0, lt=1 << 63, description="The 'next' of the page before")] = None,
    limit: Limit = 50,
) -> CommitmentRequestPage:
    """What peers asked the node to commit (PS3.4 J), newest first; ``closed_at`` is null until they are answered."""
    return list_commitment_requests(session, before=before, limit=limit)
