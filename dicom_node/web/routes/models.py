"""The pages of models: the list, and one model with what is decided of it."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Form, HTTPException, Path, Request, Response
from fastapi.responses import FileResponse, RedirectResponse
from sqlalchemy.orm import Session

from dicom_node.config import Config
from dicom_node.database import now
from dicom_node.domain import Role
from dicom_node.lifecycle import decisions
from dicom_node.lifecycle.drift import ALERT, IN_WORDS, MINIMUM_CASES
from dicom_node.lifecycle.versions import TRAINING_FILE, cancel_version
from dicom_node.web import charts
from dicom_node.web.auditing import CurrentAudit
from dicom_node.web.bundles import BundleView, saliency_picture
from dicom_node.web.callers import Caller, CurrentCaller
from dicom_node.web.dependencies import CurrentConfig, CurrentDatabase, ReadingSession, RowId, Templates
from dicom_node.web.model_card import get_model, list_models, version_in_use
from dicom_node.web.queries.models import ACTIVITY_DAYS, Version, labelled_data, model_versions, shadow_comparison
from dicom_node.web.routes.api.models import ADMINS, CurrentBundle, Retraining, ask_for_version, deciding
from dicom_node.web.version_view import show_version

router = APIRouter(prefix="/models")


@router.get("")
def models(request: Request, session: ReadingSession, config: CurrentConfig, templates: Templates) -> Response:
    """Every installed model with how it is run."""
    return templates.TemplateResponse(request, "models.html", {"models": list_models(session, config, now())})


@router.get("/{name}")
def model(
    request: Request,
    session: ReadingSession,
    config: CurrentConfig,
    templates: Templates,
    caller: CurrentCaller,
    bundle: CurrentBundle,
) -> Response:
    """One model: its card, how it does, how it is run, and what it did lately."""
    detail = get_model(session, bundle, now())
    context = versions_context(session, config, caller, bundle, detail.versions) | {
        "model": detail,
        "bundle": bundle,
        "charts": charts.model_charts(bundle, detail.activity),
        "feature_names": IN_WORDS,
        "drift_alert": ALERT,
        "drift_cases": MINIMUM_CASES,
        "activity_days": ACTIVITY_DAYS,
    }
    return templates.TemplateResponse(request, "model.html", context)


@router.get("/{name}/versions")
def versions(
    request: Request,
    session: ReadingSession,
    config: CurrentConfig,
    templates: Templates,
    caller: CurrentCaller,
    bundle: CurrentBundle,
) -> Response:
    """The versions of a model alone, for the page to bring itself up to date while one is trained."""
    context = versions_context(session, config, caller, bundle, model_versions(session, bundle.name))
    return templates.TemplateResponse(request, "model_versions.html", context)


def versions_context(
    session: Session, config: Config, caller: Caller, bundle: BundleView, found: Sequence[Version]
) -> dict[str, Any]:
    """What the part of the page about versions needs."""
    shadow = bundle.deployment.shadow
    return {
        "name": bundle.name,
        "installed_version": bundle.installed_version,
        "in_use": version_in_use(bundle),
        "shadow_id": shadow.version_id if shadow else None,
        "shadow": shadow_comparison(session, shadow.version_id) if shadow else [],
        "versions": [show_version(version, bundle.name, config.versions_folder) for version in found],
        "data": labelled_data(session, bundle.name),
        "classes": bundle.manifest.classes if bundle.manifest else (),
        "may_decide": caller.role.may_act_as(Role.ADMIN),
        "may_upload": caller.role.may_act_as(Role.OPERATOR),
        "can_train": bundle.has_weights and (bundle.folder / TRAINING_FILE).is_file(),
    }


@router.post("/{name}/retrain", dependencies=[ADMINS])
def retrain(
    database: CurrentDatabase,
    caller: CurrentCaller,
    audit: CurrentAudit,
    bundle: CurrentBundle,
    epochs: Annotated[str, Form()] = "",
) -> Response:
    """Train a new version from the one in use, on all labelled images."""
    try:
        wanted = Retraining(epochs=int(epochs) if epochs.strip() else None)
    except ValueError:
        detail = "Epochs: give a whole number from 1 to 500, or nothing to keep what the bundle says."
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, detail) from None
    version_id = ask_for_version(database, bundle, caller.name, wanted)
    audit.model_decided(caller, bundle.name, f"training of version {version_id} asked for")
    return _back(bundle.name, "versions")


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
    version_id: RowId,
    verb: str,
) -> Response:
    """Promote, discard, shadow or cancel a version, go back to one, or end its shadow."""
    with deciding(), database.session.begin() as session:
        if verb == "use":
            text = decisions.put_to_use(session, bundle.name, version_id, caller.name)
        elif verb == "discard":
            text = decisions.discard(session, bundle.name, version_id, caller.name)
        elif verb in ("shadow", "end-shadow"):
            chosen = version_id if verb == "shadow" else None
            text = decisions.run_in_shadow(session, bundle.name, chosen, caller.name)
        elif verb == "cancel":
            text = cancel_version(session, bundle.name, version_id, caller.name)
        else:
            raise HTTPException(HTTPStatus.NOT_FOUND, "There is nothing at this address.")
    audit.model_decided(caller, bundle.name, text)
    return _back(bundle.name, "versions")


def _back(name: str, section: str) -> Response:
    anchor = f"#{section}" if section else ""
    return RedirectResponse(f"/models/{name}{anchor}", HTTPStatus.SEE_OTHER)
