"""The first page: what is wrong, the node's work in figures, and what arrived last."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from dicom_node.database import now
from dicom_node.web.dependencies import CurrentConfig, ReadingSession, Templates
from dicom_node.web.queries.studies import list_studies
from dicom_node.web.standing import how_it_stands

_LATEST = 15

router = APIRouter()


@router.get("/")
def overview(request: Request, session: ReadingSession, config: CurrentConfig, templates: Templates) -> Response:
    """What needs somebody, how the node's parts are, its work in figures, and the latest studies."""
    standing = how_it_stands(session, config, now())
    facts = standing.facts
    context = {
        "attention": standing.attention,
        "figures": facts.overview,
        "facts": facts,
        "workers": [(worker, worker.is_alive(standing.workers_at)) for worker in facts.workers],
        "disk": facts.disk,
        "last_deliveries": standing.accepted_at,
        "page": list_studies(session, limit=_LATEST),
    }
    return templates.TemplateResponse(request, "overview.html", context)
