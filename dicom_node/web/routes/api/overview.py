"""How the node stands, in the API: what needs somebody, and the figures of the first page."""

from __future__ import annotations

from fastapi import APIRouter

from dicom_node.database import now
from dicom_node.web.dependencies import CurrentConfig, ReadingSession
from dicom_node.web.problems import PROBLEM_RESPONSES
from dicom_node.web.standing import Standing, how_it_stands

router = APIRouter(prefix="/overview", tags=["overview"], responses=PROBLEM_RESPONSES)


@router.get("")
def read_overview(session: ReadingSession, config: CurrentConfig) -> Standing:
    """What is wrong, the worst first, with what to do; workers, queue, disk, destinations and the figures of a day."""
    return how_it_stands(session, config, now())
