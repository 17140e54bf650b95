"""The pages of studies: the overview with the list, and one study."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from dicom_node.database import now
from dicom_node.domain import Role, StudyState
from dicom_node.liveness import known_workers
from dicom_node.web.acting import Acting
from dicom_node.web.actions import MOST_REASON, Action
from dicom_node.web.attention import PARKED_PERIOD, PERIOD, Facts, what_is_wrong
from dicom_node.web.auditing import CurrentAudit
from dicom_node.web.callers import CurrentCaller
from dicom_node.web.choices import choices
from dicom_node.web.dependencies import Before, CurrentConfig, InstanceUid, ReadingSession, Search, State, Templates
from dicom_node.web.queries.overview import get_overview
from dicom_node.web.queries.refusals import count_refusals
from dicom_node.web.queries.studies import Cursor, list_studies
from dicom_node.web.queries.study import Decision, get_study, result_files
from dicom_node.web.readiness import measured_disk
from dicom_node.web.result_objects import number_of_frames, result_path

router = APIRouter()


@router.get("/")
def overview(
    request: Request,
    session: ReadingSession,
    config: CurrentConfig,
    templates: Templates,
    q: Search = "",
    state: State = None,
    before: Before = None,
) -> Response:
    """What needs somebody, the node's work in figures, and the studies, newest first."""
    at = now()
    figures = get_overview(session, since=at - PERIOD, parked_since=at - PARKED_PERIOD)
    facts = Facts(
        overview=figures,
        refusals=count_refusals(session, at - PERIOD),
        disk=measured_disk(config),
        models_installed=any(config.node.models_folder.glob("*/configs/node.yaml")),
        workers=known_workers(session)[0],
    )
    page = list_studies(session, search=q, state=state, before=Cursor.parse(before) if before else None)

    def here(**changes: str | StudyState | None) -> str:
        query = {"q": q, "state": state, "before": before} | changes
        return "/?" + urlencode({name: value for name, value in query.items() if value})

    context = {
        "attention": what_is_wrong(facts, config, at),
        "figures": figures,
        "disk": facts.disk,
        "page": page,
        "search": q,
        "state": state,
        "before": before,
        "here": here,
    }
    return templates.TemplateResponse(request, "overview.html", context)


@router.get("/studies/{study_instance_uid}")
def study(
    request: Request,
    session: ReadingSession,
    config: CurrentConfig,
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
        "frames": {
            uid: number_of_frames(path)
            for uid, relative in result_files(session, study_instance_uid).items()
            if (path := result_path(config.results_folder, relative))
        },
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
