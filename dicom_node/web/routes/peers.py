"""The page of peers: who may send, who gets results, and what the receiver refused."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from dicom_node.database import now
from dicom_node.web.attention import PARKED_PERIOD
from dicom_node.web.dependencies import CurrentConfig, ReadingSession, Templates
from dicom_node.web.queries.overview import get_backlogs
from dicom_node.web.queries.refusals import list_refusals
from dicom_node.web.refusal_advice import advise

router = APIRouter()


@router.get("/peers")
def peers(request: Request, session: ReadingSession, config: CurrentConfig, templates: Templates) -> Response:
    """The configured peers with what waits for them, and recent refusals with cause and remedy."""
    refusals = list_refusals(session).refusals
    context = {
        "backlogs": get_backlogs(session, parked_since=now() - PARKED_PERIOD),
        "refusals": [(refusal, advise(refusal.code, refusal.calling_ae_title, config)) for refusal in refusals],
    }
    return templates.TemplateResponse(request, "peers.html", context)
