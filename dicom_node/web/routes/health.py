"""Whether the process lives and the node can work, for supervisors and load balancers."""

from __future__ import annotations

from http import HTTPStatus
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from dicom_node.web.dependencies import CurrentConfig, CurrentDatabase
from dicom_node.web.readiness import readiness_problems

router = APIRouter(tags=["health"])


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
