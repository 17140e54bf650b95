"""The page of peers: who may do what, whether they answer, what was refused them, what they asked to keep."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Form, HTTPException, Request, Response
from sqlalchemy.orm import Session

from dicom_node.config import Config
from dicom_node.database import now
from dicom_node.domain import Role
from dicom_node.web.attention import PARKED_PERIOD
from dicom_node.web.callers import CurrentCaller
from dicom_node.web.dependencies import CurrentConfig, ReadingSession, Templates
from dicom_node.web.echo import Echo, UnknownPeer, echo
from dicom_node.web.queries.commitments import list_commitment_requests
from dicom_node.web.queries.overview import get_backlogs
from dicom_node.web.queries.refusals import list_refusals
from dicom_node.web.refusal_advice import advise

_LATEST_REQUESTS = 20

router = APIRouter(prefix="/peers")


@router.get("")
def peers(
    request: Request, session: ReadingSession, config: CurrentConfig, templates: Templates, caller: CurrentCaller
) -> Response:
    """The configured peers with what waits for them, recent refusals with cause and remedy, storage commitment."""
    context = _context(session, config, caller.role)
    return templates.TemplateResponse(request, "peers.html", context)


@router.post("/echo")
def test_peer(
    request: Request,
    session: ReadingSession,
    config: CurrentConfig,
    templates: Templates,
    caller: CurrentCaller,
    peer: Annotated[str, Form(max_length=64)],
) -> Response:
    """Ask a peer whether it is there, and say what it answered."""
    try:
        answer = echo(config, peer)
    except UnknownPeer:
        raise HTTPException(HTTPStatus.NOT_FOUND, "No peer of this name is configured.") from None
    return templates.TemplateResponse(request, "peers.html", _context(session, config, caller.role, answer))


def _context(session: Session, config: Config, role: Role, answer: Echo | None = None) -> dict[str, Any]:
    refusals = list_refusals(session).refusals
    return {
        "backlogs": get_backlogs(session, parked_since=now() - PARKED_PERIOD),
        "refusals": [(refusal, advise(refusal.code, refusal.calling_ae_title, config)) for refusal in refusals],
        "requests": list_commitment_requests(session, limit=_LATEST_REQUESTS).requests,
        "may_test": role.may_act_as(Role.OPERATOR),
        "answer": answer,
    }
