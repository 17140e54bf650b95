"""The pages of studies: the list, and one study with what may be done with it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from dicom_node.domain import Role
from dicom_node.web.acting import Acting
from dicom_node.web.actions import MOST_REASON, Action
from dicom_node.web.auditing import CurrentAudit
from dicom_node.web.callers import CurrentCaller
from dicom_node.web.choices import choices
from dicom_node.web.dependencies import (
    Before,
    CurrentConfig,
    CurrentFiles,
    InstanceUid,
    ReadingSession,
    Templates,
    Wanted,
)
from dicom_node.web.queries.studies import Cursor, list_studies
from dicom_node.web.queries.study import Decision, get_study, result_files
from dicom_node.web.result_objects import frames_of_results

_MODALITIES = ("CR", "CT", "DX", "MG", "MR", "NM", "OT", "PT", "SM", "US", "XA")

router = APIRouter()


@router.get("/studies")
def study_list(
    request: Request,
    session: ReadingSession,
    config: CurrentConfig,
    templates: Templates,
    caller: CurrentCaller,
    audit: CurrentAudit,
    wanted: Wanted,
    before: Before = None,
) -> Response:
    """The studies that match, newest first, a page at a time."""
    if wanted.patient:
        audit.searched(caller, f"studies of a patient whose name or ID begins with {wanted.patient!r}")
    page = list_studies(session, wanted, before=Cursor.parse(before) if before else None)

    def here(**changes: str | None) -> str:
        query = dict(request.query_params) | {"before": before} | changes
        return "/studies?" + urlencode({name: value for name, value in query.items() if value})

    context = {
        "page": page,
        "wanted": wanted,
        "query": request.query_params,
        "filtered": any(value for name, value in request.query_params.items() if name != "before"),
        "before": before,
        "here": here,
        "sources": sorted({peer.ae_title for peer in config.peers if peer.sends}),
        "models": sorted(path.parents[1].name for path in config.node.models_folder.glob("*/configs/node.yaml")),
        "modalities": _MODALITIES,
    }
    return templates.TemplateResponse(request, "studies.html", context)


@router.get("/studies/{study_instance_uid}")
def study(
    request: Request,
    session: ReadingSession,
    config: CurrentConfig,
    files: CurrentFiles,
    templates: Templates,
    caller: CurrentCaller,
    audit: CurrentAudit,
    study_instance_uid: InstanceUid,
) -> Response:
    """Everything about one study."""
    found = get_study(session, study_instance_uid)
    if found is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "The node holds no study with this UID.")
    if caller.role.sees_patients:
        audit.viewed(caller, found.audited)
    else:
        found = found.without_patient()
    decisions: dict[str, list[Decision]] = {}
    for decision in found.analyses[0].decisions if found.analyses else ():
        decisions.setdefault(decision.series_instance_uid, []).append(decision)
    context = {
        "study": found,
        "choices": choices(found, config) if caller.role.may_act_as(Role.OPERATOR) else (),
        "most_reason": MOST_REASON,
        "decisions": decisions,
        "series": {series.series_instance_uid: series for series in found.series},
        "frames": frames_of_results(files, config.results_folder, result_files(session, study_instance_uid)),
    }
    return templates.TemplateResponse(request, "study.html", context)


@router.post("/studies/{study_instance_uid}/actions/{action}")
def take_action(
    acting: Acting,
    study_instance_uid: InstanceUid,
    action: Action,
    reason: Annotated[str, Form(min_length=1, max_length=MOST_REASON)],
    destination: Annotated[str | None, Form(max_length=64)] = None,
) -> Response:
    """Do something with a study for a reason, and show the study."""
    acting(action, study_instance_uid, reason, destination or None)
    return RedirectResponse(f"/studies/{study_instance_uid}", HTTPStatus.SEE_OTHER)
