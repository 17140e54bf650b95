"""The page of the audit trail, for administrators."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from dicom_node.web.auditing import CurrentAudit
from dicom_node.web.callers import ADMINISTRATORS, CurrentCaller
from dicom_node.web.dependencies import Templates
from dicom_node.web.trail import CurrentTrail

_PAGE = 100

router = APIRouter(dependencies=[ADMINISTRATORS])


@router.get("/audit")
def audit_page(
    request: Request,
    trail: CurrentTrail,
    caller: CurrentCaller,
    audit: CurrentAudit,
    templates: Templates,
    skip: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Response:
    """Who saw which patient and did what."""
    query = urlencode({"q": trail.text, "first": trail.first.isoformat(), "last": trail.last.isoformat()})
    page = trail.page(skip, _PAGE)
    audit.trail_read(caller)
    return templates.TemplateResponse(request, "audit.html", {"page": page, "trail": trail, "query": query})
