"""Models in the API: their cards and figures, and what administrators decide of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path
from pydantic import BaseModel

from dicom_node.database import now
from dicom_node.domain import Role
from dicom_node.lifecycle import decisions
from dicom_node.web.auditing import CurrentAudit
from dicom_node.web.bundles import BundleView
from dicom_node.web.callers import CurrentCaller, needs
from dicom_node.web.dependencies import CurrentConfig, CurrentDatabase, ReadingSession
from dicom_node.web.model_card import ModelDetail, ModelSummary, find_bundle, get_model, list_models
from dicom_node.web.problems import PROBLEM_RESPONSES

router = APIRouter(prefix="/models", tags=["models"], responses=PROBLEM_RESPONSES)

ADMINS = Depends(needs(Role.ADMIN))
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


class ChosenPoint(BaseModel):
    """The operating point to hold a finding against."""

    operating_point: str


class Switch(BaseModel):
    """Whether the model reads."""

    enabled: bool


class ChosenVersion(BaseModel):
    """A version by its number; 0 is the one installed with the node, None none."""

    version_id: int | None


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
    database: CurrentDatabase, caller: CurrentCaller, audit: CurrentAudit, bundle: CurrentBundle, version_id: int
) -> Decided:
    """Give a trained version up; its files stay."""
    with deciding(), database.session.begin() as session:
        text = decisions.discard(session, bundle.name, version_id, caller.name)
    audit.model_decided(caller, bundle.name, text)
    return Decided(text=text)
