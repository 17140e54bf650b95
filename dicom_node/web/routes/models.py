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
from dicom_node.lifecycle.drift import ALERT, IN_WORDS, MINIMUM_CASES
from dicom_node.lifecycle.versions import TRAINING_FILE
from dicom_node.web import charts
from dicom_node.web.actions import MOST_REASON
from dicom_node.web.auditing import CurrentAudit
from dicom_node.web.bundles import BundleView, saliency_picture
from dicom_node.web.callers import Caller, CurrentCaller
from dicom_node.web.dependencies import CurrentConfig, CurrentDatabase, ReadingSession, RowId, Templates
from dicom_node.web.model_card import get_model, list_models, version_in_use
from dicom_node.web.queries.models import ACTIVITY_DAYS, Version, labelled_data, model_versions, shadow_comparison
from dicom_node.web.routes.api import models as api
from dicom_node.web.routes.api.models import ADMINS, CurrentBundle
from dicom_node.web.version_view import show_version

router = APIRouter(prefix="/models")
GivenReason = Annotated[api.Reason, Form()]


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
        "most_reason": MOST_REASON,
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
        wanted = api.Retraining(epochs=int(epochs) if epochs.strip() else None)
    except ValueError:
        detail = "Epochs: give a whole number from 1 to 500, or nothing to keep what the bundle says."
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, detail) from None
    api.retrain(database, caller, audit, bundle, wanted)
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
    chosen = api.ChosenPoint(operating_point=operating_point)
    api.choose_operating_point(database, caller, audit, bundle, finding, chosen)
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
    api.switch(database, caller, audit, bundle, api.Switch(enabled=enabled))
    return _back(bundle.name, "")


@router.post("/{name}/versions/{version_id}/delete", dependencies=[ADMINS])
def delete_version(
    config: CurrentConfig,
    database: CurrentDatabase,
    caller: CurrentCaller,
    audit: CurrentAudit,
    bundle: CurrentBundle,
    version_id: RowId,
    reason: GivenReason,
) -> Response:
    """Remove a version's files, for a reason."""
    api.delete(config, database, caller, audit, bundle, version_id, api.Deletion(reason=reason))
    return _back(bundle.name, "versions")


@router.post("/{name}/data/{data_id}/delete", dependencies=[ADMINS])
def delete_data(
    config: CurrentConfig,
    database: CurrentDatabase,
    caller: CurrentCaller,
    audit: CurrentAudit,
    bundle: CurrentBundle,
    data_id: RowId,
    reason: GivenReason,
) -> Response:
    """Remove labelled images that were uploaded, for a reason."""
    api.delete_data(config, database, caller, audit, bundle, data_id, api.Deletion(reason=reason))
    return _back(bundle.name, "versions")


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
    if verb == "use":
        api.put_to_use(database, caller, audit, bundle, api.ChosenVersion(version_id=version_id))
    elif verb == "discard":
        api.discard(database, caller, audit, bundle, version_id)
    elif verb in ("shadow", "end-shadow"):
        chosen = api.ChosenVersion(version_id=version_id if verb == "shadow" else None)
        api.run_in_shadow(database, caller, audit, bundle, chosen)
    elif verb == "cancel":
        api.cancel(database, caller, audit, bundle, version_id)
    else:
        raise HTTPException(HTTPStatus.NOT_FOUND, "There is nothing at this address.")
    return _back(bundle.name, "versions")


def _back(name: str, section: str) -> Response:
    anchor = f"#{section}" if section else ""
    return RedirectResponse(f"/models/{name}{anchor}", HTTPStatus.SEE_OTHER)
