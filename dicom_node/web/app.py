"""Puts the web application together: routes, templates, static files, error answers, security headers."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import Depends, FastAPI
from fastapi.staticfiles import StaticFiles

from dicom_node import __version__
from dicom_node.access.api_keys import ApiKeys
from dicom_node.access.sessions import Sessions
from dicom_node.access.throttle import Throttle
from dicom_node.audit.trail import AuditTrail
from dicom_node.cached_files import open_files
from dicom_node.config import Config, OidcSection
from dicom_node.database import Database
from dicom_node.web.auditing import Audit
from dicom_node.web.body_limit import BodyLimit
from dicom_node.web.callers import admit
from dicom_node.web.changes import Changes
from dicom_node.web.intake import Intake
from dicom_node.web.metrics import Metrics, Timed
from dicom_node.web.problems import install_problem_handlers
from dicom_node.web.routes import (
    access,
    audit,
    changes,
    dicom_web,
    health,
    instances,
    login,
    models,
    overview,
    peers,
    results,
    rules,
    studies,
    verdicts,
)
from dicom_node.web.routes.api import access as api_access
from dicom_node.web.routes.api import actions as api_actions
from dicom_node.web.routes.api import audit as api_audit
from dicom_node.web.routes.api import commitments as api_commitments
from dicom_node.web.routes.api import models as api_models
from dicom_node.web.routes.api import overview as api_overview
from dicom_node.web.routes.api import peers as api_peers
from dicom_node.web.routes.api import refusals as api_refusals
from dicom_node.web.routes.api import rules as api_rules
from dicom_node.web.routes.api import studies as api_studies
from dicom_node.web.routes.api import verdicts as api_verdicts
from dicom_node.web.security import SecurityHeaders, refuse_foreign_pages
from dicom_node.web.templating import create_templates

if TYPE_CHECKING:
    from dicom_node.inference.models import Models

STREAMED = (f"{dicom_web.STOW_PREFIX}/",)
"""Addresses whose bodies may be of any size: they go to files as they come."""


def create_app(config: Config, database: Database, predicting: Models | None = None) -> FastAPI:
    """The status page and the API over ``database``, which the caller has opened and closes.

    ``predicting`` are those that single images may be sent to; without them there is no such route.
    """
    app = FastAPI(
        title="dicom-node",
        version=__version__,
        summary="Studies, results and peers of an inference node beside the PACS.",
        openapi_url="/api/openapi.json",
        docs_url=None,  # FastAPI's own documentation pages load their scripts from another host
        redoc_url=None,
        dependencies=[Depends(refuse_foreign_pages), Depends(admit)],
    )
    app.state.config = config
    app.state.database = database
    app.state.files = open_files(config)
    app.state.sessions = Sessions(database, timedelta(hours=config.web.session_hours))
    app.state.api_keys = ApiKeys(database, config.secret_path)
    app.state.throttle = Throttle()
    app.state.single_sign_on = None
    trail = AuditTrail.configured(config)
    app.state.audit = Audit(trail, config.node.ae_title)
    app.state.intake = Intake(config, database)
    app.state.changes = Changes(database, config.versions_folder)
    app.state.metrics = Metrics(config, database)
    app.state.templates = create_templates(config)
    install_problem_handlers(app, app.state.templates)
    for page in (login, overview, studies, instances, results, peers, models, rules, audit, access, verdicts, changes):
        app.include_router(page.router, include_in_schema=False)
    for resource in (
        api_overview,
        api_studies,
        api_verdicts,
        api_actions,
        api_peers,
        api_refusals,
        api_commitments,
        api_models,
        api_rules,
        api_audit,
        api_access,
    ):
        app.include_router(resource.router, prefix="/api")
    if predicting is not None:
        _offer_predictions(app, predicting)
    if config.web.oidc is not None:
        _offer_single_sign_on(app, config.web.oidc, config.secret_path)
    if config.web.stow:
        app.state.stow_slots = asyncio.Semaphore(config.web.maximum_stow_requests)
        app.include_router(dicom_web.router)
    app.include_router(health.router)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    app.add_middleware(BodyLimit, maximum_bytes=config.web.maximum_request_megabytes << 20, streamed=STREAMED)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(Timed, requests=app.state.metrics.requests)
    return app


def _offer_single_sign_on(app: FastAPI, settings: OidcSection, secret_path: Path) -> None:
    # With an HTTP client and its cryptography, which a node without single sign-on need not wait for.
    from dicom_node.access.single_sign_on import SingleSignOn
    from dicom_node.web.routes import single_sign_on

    app.state.single_sign_on = SingleSignOn(settings, secret_path)
    app.include_router(single_sign_on.router, include_in_schema=False)


def _offer_predictions(app: FastAPI, models: Models) -> None:
    # They bring the models' libraries with them, which a web process without models need not wait for.
    from dicom_node.web.prediction import Predictor
    from dicom_node.web.routes import trial
    from dicom_node.web.routes.api import predict

    app.state.predictor = Predictor(models)
    app.include_router(predict.router, prefix="/api")
    app.include_router(trial.router, include_in_schema=False)
