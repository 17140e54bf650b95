"""Whether the process lives and the node can work, for supervisors and load balancers; its figures for Prometheus."""

from __future__ import annotations

from http import HTTPStatus
from typing import Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from pydantic import BaseModel

from dicom_node.web.dependencies import CurrentConfig, CurrentDatabase
from dicom_node.web.metrics import Metrics
from dicom_node.web.readiness import readiness_problems

router = APIRouter(tags=["health"])


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(request: Request) -> Response:
    """The node's figures in the text format of Prometheus, for any caller that is let in: no patient is named."""
    current: Metrics = request.app.state.metrics
    return Response(generate_latest(current.registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


class Alive(BaseModel):
    """The web process answers."""

    status: Literal["alive"] = "alive"


class Readiness(BaseModel):
    """Whether the node can work, and what keeps it from that, in sentences."""

    status: Literal["ready", "not ready"]
    problems: tuple[str, ...]


@router.get("/healthz")
def healthz() -> Alive:
    """Always 200 while the process lives."""
    return Alive()


@router.get("/readyz", responses={503: {"model": Readiness, "description": "The node cannot work"}})
def readyz(config: CurrentConfig, database: CurrentDatabase, response: Response) -> Readiness:
    """200 when the database answers, the data folder can be written and the disk has room; else 503."""
    problems = readiness_problems(config, database)
    if problems:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return Readiness(status="not ready" if problems else "ready", problems=problems)
