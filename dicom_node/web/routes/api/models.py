"""Models in the API: their cards and figures, and what administrators decide of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Request
from pydantic import BaseModel, Field, StringConstraints
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from dicom_node.database import Database, now
from dicom_node.domain import Role
from dicom_node.lifecycle import decisions
from dicom_node.lifecycle.labelled import (
    MOST_FILES,
    NotTaken,
    add_labelled_data,
    delete_labelled_data,
    keep_upload,
)
from dicom_node.lifecycle.trainer import NotInstalled
from dicom_node.lifecycle.versions import (
    TRAINING_FILE,
    VersionFolders,
    cancel_version,
    delete_version,
    read_progress,
    request_version,
)
from dicom_node.web.actions import MOST_REASON
from dicom_node.web.auditing import CurrentAudit
from dicom_node.web.bundles import BundleView
from dicom_node.web.callers import CurrentCaller, needs
from dicom_node.web.dependencies import CurrentConfig, CurrentDatabase, ReadingSession, RowId
from dicom_node.web.model_card import ModelDetail, ModelSummary, find_bundle, get_model, list_models
from dicom_node.web.problems import PROBLEM_RESPONSES
from dicom_node.web.queries.models import LabelledData, Version, labelled_data, model_versions
from dicom_node.web.uploads import form_in_memory, uploaded_files

_DATA_FORM = {
    "type": "object",
    "required": ["files"],
    "properties": {
        "files": {"type": "array", "items": {"type": "string", "format": "binary"}, "description": "A zip, or files"},
        "name": {"type": "string", "description": "What to call them"},
    },
}
_DATA_BODY = {"required": True, "content": {"multipart/form-data": {"schema": _DATA_FORM}}}

router = APIRouter(prefix="/models", tags=["models"], responses=PROBLEM_RESPONSES)

ADMINS = Depends(needs(Role.ADMIN))
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MOST_REASON)]
ModelName = Annotated[str, Path(pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="Name of a model: its bundle's folder")]


def _bundle(session: ReadingSession, config: CurrentConfig, name: ModelName) -> BundleView:
    view = find_bundle(session, config, name)
    if view is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"No model named {name} is installed.")
    return view


CurrentBundle = Annotated[BundleView, Depends(_bundle)]
"""The bundle that the path names; 404 where there is none."""


@contextmanager
def deciding() -> Iterator[None]:
    """What cannot be decided is answered with 409 and the reason."""
    try:
        yield
    except decisions.NotPossible as error:
        raise HTTPException(HTTPStatus.CONFLICT, str(error)) from None
    except OSError as error:
        detail = f"The files cannot be removed: {error.strerror}. Mend that, and delete again."
        raise HTTPException(HTTPStatus.INTERNAL_SERVER_ERROR, detail) from None


class ChosenPoint(BaseModel):
    """The operating point to hold a finding against."""

    operating_point: str


class Switch(BaseModel):
    """Whether the model reads."""

    enabled: bool


class ChosenVersion(BaseModel):
    """A version by its number; 0 is the one installed with the node, None none."""

    version_id: RowId | None


class Retraining(BaseModel):
    """What to train on: labelled data by number, all of the model's where left out; and for how many epochs."""

    data: list[RowId] = []
    epochs: Annotated[int, Field(ge=1, le=500)] | None = None


class Uploaded(BaseModel):
    """Labelled images that were taken: how many, by split and class, and what the checks had to say."""

    data_id: int
    images: dict[str, dict[str, int]]
    notes: list[str]


class Training(BaseModel):
    """How far the training of a version is; ``progress`` holds the epochs of each fit so far."""

    version: Version
    progress: dict[str, Any] | None


class Deletion(BaseModel):
    """Why something is deleted; it stands in the model's history and must name no patient."""

    reason: Reason


class Decided(BaseModel):
    """What was decided, as it stands in the model's history."""

    text: str


@router.get("")
def read_models(session: ReadingSession, config: CurrentConfig) -> list[ModelSummary]:
    """Every installed model with how it is run."""
    return list_models(session, config, now())


@router.get("/{name}")
def read_model(session: ReadingSession, bundle: CurrentBundle) -> ModelDetail:
    """One model: its card, operating points, versions, drift, agreement with readers, and what it did lately."""
    return get_model(session, bundle, now())


@router.get("/{name}/metrics")
def read_metrics(bundle: CurrentBundle) -> dict[str, Any]:
    """The figures of the version in use on its test images, each with its 95 % interval; 404 where it has none."""
    if bundle.evaluation is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"The bundle of {bundle.name} holds no evaluation.")
    return dict(bundle.evaluation)


@router.put("/{name}/findings/{finding}/operating-point", dependencies=[ADMINS])
def choose_operating_point(
    database: CurrentDatabase,
    caller: CurrentCaller,
    audit: CurrentAudit,
    bundle: CurrentBundle,
    finding: str,
    chosen: ChosenPoint,
) -> Decided:
    """Hold a finding against another operating point, in every process within seconds; 409 where there is none such."""
    if bundle.manifest is None:
        raise HTTPException(HTTPStatus.CONFLICT, bundle.problem)
    with deciding(), database.session.begin() as session:
        text = decisions.choose_operating_point(
            session, bundle.name, bundle.manifest, finding, chosen.operating_point, caller.name
        )
    audit.model_decided(caller, bundle.name, text)
    return Decided(text=text)


@router.put("/{name}/enabled", dependencies=[ADMINS])
def switch(
    database: CurrentDatabase, caller: CurrentCaller, audit: CurrentAudit, bundle: CurrentBundle, wanted: Switch
) -> Decided:
    """Let the model read studies, or not; 409 where it has no weights."""
    with deciding(), database.session.begin() as session:
        if wanted.enabled and not bundle.has_weights:
            raise decisions.NotPossible(f"{bundle.name} has no weights; it cannot be switched on.")
        text = decisions.switch(session, bundle.name, caller.name, on=wanted.enabled)
    audit.model_decided(caller, bundle.name, text)
    return Decided(text=text)


@router.put("/{name}/version", dependencies=[ADMINS])
def put_to_use(
    database: CurrentDatabase, caller: CurrentCaller, audit: CurrentAudit, bundle: CurrentBundle, chosen: ChosenVersion
) -> Decided:
    """Promote a trained version, or go back to an earlier one: new studies are read by it; 409 where it cannot be."""
    with deciding(), database.session.begin() as session:
        text = decisions.put_to_use(session, bundle.name, chosen.version_id or decisions.INSTALLED, caller.name)
    audit.model_decided(caller, bundle.name, text)
    return Decided(text=text)


@router.put("/{name}/shadow", dependencies=[ADMINS])
def run_in_shadow(
    database: CurrentDatabase, caller: CurrentCaller, audit: CurrentAudit, bundle: CurrentBundle, chosen: ChosenVersion
) -> Decided:
    """Let a trained version read beside the one in use, or, with null, none; its results are kept and never sent."""
    with deciding(), database.session.begin() as session:
        text = decisions.run_in_shadow(session, bundle.name, chosen.version_id, caller.name)
    audit.model_decided(caller, bundle.name, text)
    return Decided(text=text)


@router.delete("/{name}/versions/{version_id}", dependencies=[ADMINS])
def discard(
    database: CurrentDatabase, caller: CurrentCaller, audit: CurrentAudit, bundle: CurrentBundle, version_id: RowId
) -> Decided:
    """Give a trained version up; its files stay."""
    with deciding(), database.session.begin() as session:
        text = decisions.discard(session, bundle.name, version_id, caller.name)
    audit.model_decided(caller, bundle.name, text)
    return Decided(text=text)


@router.post("/{name}/versions/{version_id}/delete", dependencies=[ADMINS])
def delete(
    config: CurrentConfig,
    database: CurrentDatabase,
    caller: CurrentCaller,
    audit: CurrentAudit,
    bundle: CurrentBundle,
    version_id: RowId,
    wanted: Deletion,
) -> Decided:
    """Remove a version's files; what was said of it stays. 409 where it is in use, in shadow or being trained."""
    with deciding(), database.session.begin() as session:
        text = delete_version(session, bundle.name, version_id, caller.name, wanted.reason)
    VersionFolders.of(config.versions_folder, version_id, bundle.name).remove()
    audit.model_decided(caller, bundle.name, text)
    return Decided(text=text)


@router.post("/{name}/data/{data_id}/delete", dependencies=[ADMINS])
def delete_data(
    config: CurrentConfig,
    database: CurrentDatabase,
    caller: CurrentCaller,
    audit: CurrentAudit,
    bundle: CurrentBundle,
    data_id: RowId,
    wanted: Deletion,
) -> Decided:
    """Remove labelled images that were uploaded; 409 where a version is being trained on them."""
    folder = config.labelled_folder / bundle.name
    with deciding(), database.session.begin() as session:
        text = delete_labelled_data(session, bundle.name, data_id, folder, caller.name, wanted.reason)
    audit.model_decided(caller, bundle.name, text)
    return Decided(text=text)


@router.post("/{name}/data", status_code=HTTPStatus.CREATED, openapi_extra={"requestBody": _DATA_BODY})
async def upload_data(
    request: Request,
    config: CurrentConfig,
    database: CurrentDatabase,
    caller: CurrentCaller,
    audit: CurrentAudit,
    bundle: CurrentBundle,
) -> Uploaded:
    """Take labelled images: a zip, or files with their paths, in a folder for each class; index.csv names patients.

    They pass the checks of training first; 422 says what speaks against them, and nothing is kept then. 501 where
    training is not installed on this host.
    """
    form = await form_in_memory(request, files=MOST_FILES)
    try:
        files = await uploaded_files(form, "files")
        title = str(form.get("name", "")).strip()[:64] or (files[0][0].partition("/")[0][:64] if files else "")
        folder, report = await run_in_threadpool(
            keep_upload, files, config.node.models_folder / bundle.name, config.labelled_folder / bundle.name
        )
    except NotTaken as error:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
    except NotInstalled as error:
        raise HTTPException(HTTPStatus.NOT_IMPLEMENTED, str(error)) from None
    finally:
        await form.close()
    with database.session.begin() as session:
        number = add_labelled_data(session, bundle.name, title, folder, report, caller.name)
    audit.model_decided(caller, bundle.name, f"labelled data {number} uploaded")
    return Uploaded(
        data_id=number, images=report["images"], notes=[objection["sentence"] for objection in report["objections"]]
    )


@router.get("/{name}/data")
def read_data(session: ReadingSession, bundle: CurrentBundle) -> list[LabelledData]:
    """The labelled images that were uploaded for the model, newest first."""
    return labelled_data(session, bundle.name)


@router.post("/{name}/retrain", status_code=HTTPStatus.ACCEPTED, dependencies=[ADMINS])
def retrain(
    database: CurrentDatabase,
    caller: CurrentCaller,
    audit: CurrentAudit,
    bundle: CurrentBundle,
    wanted: Retraining | None = None,
) -> Training:
    """Train a new version from the one in use, on labelled images; a worker does it beside its studies.

    409 where there is nothing to train on, or a version is being trained already.
    """
    version_id = ask_for_version(database, bundle, caller.name, wanted or Retraining())
    audit.model_decided(caller, bundle.name, f"training of version {version_id} asked for")
    with database.reading() as session:
        return _training(session, bundle.name, version_id, None)


@router.get("/{name}/versions/{version_id}")
def read_version(session: ReadingSession, config: CurrentConfig, bundle: CurrentBundle, version_id: RowId) -> Training:
    """One version: how far its training is, and once it is trained, its figures beside those of the version in use."""
    return _training(session, bundle.name, version_id, config.versions_folder)


@router.post("/{name}/versions/{version_id}/cancel", dependencies=[ADMINS])
def cancel(
    database: CurrentDatabase, caller: CurrentCaller, audit: CurrentAudit, bundle: CurrentBundle, version_id: RowId
) -> Decided:
    """Stop the training of a version; 409 where it is not being trained."""
    with deciding(), database.session.begin() as session:
        text = cancel_version(session, bundle.name, version_id, caller.name)
    audit.model_decided(caller, bundle.name, text)
    return Decided(text=text)


def ask_for_version(database: Database, bundle: BundleView, by: str, wanted: Retraining) -> int:
    """Ask for a version to be trained; returns its number.

    Raises:
        HTTPException: it cannot be (409); the detail says why.
    """
    with deciding(), database.session.begin() as session:
        if bundle.definition is None or not bundle.has_weights:
            raise decisions.NotPossible(bundle.problem or f"{bundle.name} has no weights to start from.")
        if not (bundle.folder / TRAINING_FILE).is_file():
            raise decisions.NotPossible(f"{bundle.name} has no {TRAINING_FILE}: it does not say how it is trained.")
        version = bundle.definition.version
        return request_version(session, bundle.name, version, by, data=wanted.data, epochs=wanted.epochs).id


def _training(session: Session, model: str, version_id: int, folder: FilePath | None) -> Training:
    version = next((one for one in model_versions(session, model) if one.id == version_id), None)
    if version is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"{model} has no version with the number {version_id}.")
    progress = read_progress(VersionFolders.of(folder, version_id, model)) if folder is not None else None
    return Training(version=version, progress=progress)
