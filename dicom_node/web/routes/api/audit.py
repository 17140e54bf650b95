"""The audit trail in the API: searched page by page, or exported."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from dicom_node.web.auditing import CurrentAudit
from dicom_node.web.callers import ADMINISTRATORS, CurrentCaller
from dicom_node.web.dependencies import Limit
from dicom_node.web.problems import PROBLEM_RESPONSES
from dicom_node.web.trail import AuditPage, CurrentTrail

router = APIRouter(prefix="/audit", tags=["audit"], responses=PROBLEM_RESPONSES, dependencies=[ADMINISTRATORS])


class ExportFormat(StrEnum):
    """How the trail is exported."""

    CSV = "csv"
    JSON_LINES = "jsonl"


@router.get("")
def read_audit(
    trail: CurrentTrail,
    caller: CurrentCaller,
    audit: CurrentAudit,
    skip: Annotated[int, Query(ge=0, le=1_000_000, description="The 'next' of the page before")] = 0,
    limit: Limit = 50,
) -> AuditPage:
    """Audit events of the last week, or of the days asked for (a year at most), newest first."""
    audit.trail_read(caller)
    return trail.page(skip, limit)


@router.get("/export")
def export_audit(
    trail: CurrentTrail, caller: CurrentCaller, audit: CurrentAudit, as_: Annotated[ExportFormat, Query(alias="format")]
) -> StreamingResponse:
    """The same events, all of them, as a file."""
    audit.trail_read(caller)
    name = f"audit-{trail.first}-{trail.last}.{as_.value}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    if as_ is ExportFormat.CSV:
        return StreamingResponse(trail.csv(), media_type="text/csv; charset=utf-8", headers=headers)
    return StreamingResponse(trail.json_lines(), media_type="application/jsonl", headers=headers)
