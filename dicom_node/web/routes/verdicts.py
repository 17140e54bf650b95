"""The form on the page of a study with which a reader judges a finding."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Form, Response
from fastapi.responses import RedirectResponse

from dicom_node.web.auditing import CurrentAudit
from dicom_node.web.callers import CurrentCaller
from dicom_node.web.dependencies import CurrentDatabase, InstanceUid, RowId
from dicom_node.web.routes.api.verdicts import MOST_NOTE, GivenVerdict, judge

router = APIRouter(prefix="/studies")


@router.post("/{study_instance_uid}/findings/{finding_id}/verdict")
def give(
    database: CurrentDatabase,
    caller: CurrentCaller,
    audit: CurrentAudit,
    study_instance_uid: InstanceUid,
    finding_id: RowId,
    right: Annotated[bool, Form()],
    note: Annotated[str, Form(max_length=MOST_NOTE)] = "",
) -> Response:
    """Say whether a finding is right."""
    judge(database, caller, audit, study_instance_uid, finding_id, GivenVerdict(right=right, note=note))
    return RedirectResponse(f"/studies/{study_instance_uid}", HTTPStatus.SEE_OTHER)
