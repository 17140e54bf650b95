"""The rule tester: a study that is held, or headers pasted in, held against the rules of every model."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response

from dicom_node.web.auditing import CurrentAudit
from dicom_node.web.callers import OPERATORS, CurrentCaller
from dicom_node.web.dependencies import CurrentConfig, CurrentFiles, ReadingSession, Templates
from dicom_node.web.manifests import CurrentManifests
from dicom_node.web.queries.studies import StudyFilter, list_studies
from dicom_node.web.queries.study import audited_study
from dicom_node.web.rule_test import NotDicomJson, SeriesVerdict, header_verdicts, held_study_verdicts

_CHOICES = 20
_MOST_TEXT = 4 << 20

router = APIRouter(prefix="/rules", dependencies=[OPERATORS])


@router.get("")
def rules(
    request: Request,
    session: ReadingSession,
    config: CurrentConfig,
    files: CurrentFiles,
    manifests: CurrentManifests,
    templates: Templates,
    caller: CurrentCaller,
    audit: CurrentAudit,
    q: Annotated[str, Query(max_length=64)] = "",
    study: Annotated[str, Query(pattern=r"^[0-9.]{0,64}$")] = "",
) -> Response:
    """Choose a study among the latest or those that match, and see what the rules make of it."""
    verdicts: tuple[SeriesVerdict, ...] | None = None
    message = ""
    if study:
        verdicts = held_study_verdicts(session, config, files, study, manifests)
        audit.viewed(caller, audited_study(session, study))
        message = "" if verdicts else "The node holds no images of this study, or no longer."
    found = list_studies(session, StudyFilter(search=q.strip()), limit=_CHOICES).studies
    context = {"found": found, "q": q, "chosen": study, "verdicts": verdicts, "message": message, "headers": ""}
    return templates.TemplateResponse(request, "rules.html", context | {"models": manifests})


@router.post("")
def rules_on_headers(
    request: Request,
    session: ReadingSession,
    manifests: CurrentManifests,
    templates: Templates,
    headers: Annotated[str, Form(max_length=_MOST_TEXT)],
) -> Response:
    """What the rules make of headers as DICOM JSON; nothing is kept."""
    verdicts: tuple[SeriesVerdict, ...] | None = None
    message, status = "", HTTPStatus.OK
    try:
        verdicts = header_verdicts(headers, manifests)
    except NotDicomJson as error:
        message, status = str(error), HTTPStatus.UNPROCESSABLE_ENTITY
    found = list_studies(session, limit=_CHOICES).studies
    context = {"found": found, "q": "", "chosen": "", "verdicts": verdicts, "message": message, "headers": headers}
    return templates.TemplateResponse(request, "rules.html", context | {"models": manifests}, status)
