"""The first page: what is wrong, the node's work in figures, and what arrived last."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from dicom_node.database import now
from dicom_node.liveness import known_workers
from dicom_node.web.attention import PARKED_PERIOD, PERIOD, Facts, what_is_wrong
from dicom_node.web.dependencies import CurrentConfig, ReadingSession, Templates
from dicom_node.web.queries.overview import get_overview, last_deliveries
from dicom_node.web.queries.refusals import count_refusals
from dicom_node.web.queries.studies import list_studies
from dicom_node.web.readiness import measured_disk, receiver_answers

_LATEST = 15

router = APIRouter()


@router.get("/")
def overview(request: Request, session: ReadingSession, config: CurrentConfig, templates: Templates) -> Response:
    """What needs somebody, how the node's parts are, its work in figures, and the latest studies."""
    at = now()
    workers, workers_at = known_workers(session)
    figures = get_overview(session, since=at - PERIOD, parked_since=at - PARKED_PERIOD, at=at)
    facts = Facts(
        overview=figures,
        refusals=count_refusals(session, at - PERIOD),
        disk=measured_disk(config),
        models_installed=any(config.node.models_folder.glob("*/configs/node.yaml")),
        workers=workers,
        receiver_answers=receiver_answers(config),
    )
    context = {
        "attention": what_is_wrong(facts, config, at),
        "figures": figures,
        "facts": facts,
        "workers": [(worker, worker.is_alive(workers_at)) for worker in workers],
        "disk": facts.disk,
        "last_deliveries": last_deliveries(session, [peer.name for peer in config.destinations]),
        "page": list_studies(session, limit=_LATEST),
    }
    return templates.TemplateResponse(request, "overview.html", context)
