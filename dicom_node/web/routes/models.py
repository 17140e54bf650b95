"""The pages of models: the list, and one model with what is decided of it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Path, Request, Response
from fastapi.responses import FileResponse, RedirectResponse

from dicom_node.database import now
from dicom_node.domain import Role
from dicom_node.lifecycle import decisions
from dicom_node.lifecycle.drift import ALERT, IN_WORDS, MINIMUM_CASES
from dicom_node.web import charts
from dicom_node.web.auditing import CurrentAudit
from dicom_node.web.bundles import saliency_picture
from dicom_node.web.callers import CurrentCaller
from dicom_node.web.dependencies import CurrentConfig, CurrentDatabase, ReadingSession, Templates
from dicom_node.web.model_card import get_model, list_models
from dicom_node.web.queries.models import ACTIVITY_DAYS
from dicom_node.web.routes.api.models import ADMINS, CurrentBundle, deciding

router = APIRouter(prefix="/models")


@router.get("")
def models(request: Request, session: ReadingSession, config: CurrentConfig, templates: Templates) -> Response:
    """Every installed model with how it is run."""
    return templates.TemplateResponse(request, "models.html", {"models": list_models(session, config, now())})


@router.get("/{name}")
def model(
    request: Request,
    session: ReadingSession,
    templates: Templates,
    caller: CurrentCaller,
    bundle: CurrentBundle,
) -> Response:
    """One model: its card, how it does, how it is run, and what it did lately."""
    detail = get_model(session, bundle, now())
    context = {
        "model": detail,
        "bundle": bundle,
        "charts": charts.model_charts(bundle, detail.activity),
        "may_decide": caller.role.may_act_as(Role.ADMIN),
        "feature_names": IN_WORDS,
        "drift_alert": ALERT,
        "drift_cases": MINIMUM_CASES,
        "activity_days": ACTIVITY_DAYS,
        "versions_by_id": {version.id: version for version in detail.versions},
    }
    return templates.TemplateResponse(request, "model.html", context)


@router.get("/{name}/saliency/{picture}")
def saliency(bundle: CurrentBundle, picture: Annotated[str, Path(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]) -> Response:
    """One picture of where the model looks, of those that its bundle brings."""
    path = saliency_picture(bundle, picture)
    if path is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "The bundle has no such picture.")
    return FileResponse(path, media_type="image/png")


@router.post("/{name}/operating-point", dependencies=[ADMINS])
def choose_operating_point(
    database: CurrentDatabase,
    caller: CurrentCaller,
    audit: CurrentAudit,
    bundle: CurrentBundle,
    finding: Annotated[str, Form()],
    operating_point: Annotated[str, Form()],
) -> Response:
    """Hold a finding against another operating point."""
    if bundle.manifest is None:
        raise HTTPException(HTTPStatus.CONFLICT, bundle.problem)
    with deciding(), database.session.begin() as session:
        text = decisions.choose_operating_point(
            session, bundle.name, bundle.manifest, finding, operating_point, caller.name
        )
    audit.model_decided(caller, bundle.name, text)
    return _back(bundle.name, "how")


@router.post("/{name}/switch", dependencies=[ADMINS])
def switch(
    database: CurrentDatabase,
    caller: CurrentCaller,
    audit: CurrentAudit,
    bundle: CurrentBundle,
    enabled: Annotated[bool, Form()],
) -> Response:
    """Let the model read studies, or not."""
    with deciding(), database.session.begin() as session:
        if enabled and not bundle.has_weights:
            raise decisions.NotPossible(f"{bundle.name} has no weights; it cannot be switched on.")
        text = decisions.switch(session, bundle.name, caller.name, on=enabled)
    audit.model_decided(caller, bundle.name, text)
    return _back(bundle.name, "")


@router.post("/{name}/versions/{version_id}/{verb}", dependencies=[ADMINS])
def decide_version(
    database: CurrentDatabase,
    caller: CurrentCaller,
    audit: CurrentAudit,
    bundle: CurrentBundle,
    version_id: int,
    verb: str,
) -> Response:
    """Promote, discard or shadow a version, go back to one, or end its shadow."""
    with deciding(), database.session.begin() as session:
        if verb == "use":
            text = decisions.put_to_use(session, bundle.name, version_id, caller.name)
        elif verb == "discard":
            text = decisions.discard(session, bundle.name, version_id, caller.name)
        elif verb in ("shadow", "end-shadow"):
            chosen = version_id if verb == "shadow" else None
            text = decisions.run_in_shadow(session, bundle.name, chosen, caller.name)
        else:
            raise HTTPException(HTTPStatus.NOT_FOUND, "There is nothing at this address.")
    audit.model_decided(caller, bundle.name, text)
    return _back(bundle.name, "versions")


def _back(name: str, section: str) -> Response:
    anchor = f"#{section}" if section else ""
    return RedirectResponse(f"/models/{name}{anchor}", HTTPStatus.SEE_OTHER)
