"""How the node stands: its facts put together, for the first page and for the API."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cachetools import TTLCache, cached
from sqlalchemy.orm import Session

from dicom_node.config import Config
from dicom_node.lifecycle.decisions import read_deployments
from dicom_node.lifecycle.inputs import model_drift
from dicom_node.liveness import known_workers
from dicom_node.web.attention import PARKED_PERIOD, PERIOD, Attention, Facts, what_is_wrong
from dicom_node.web.bundles import view_bundles
from dicom_node.web.queries.overview import get_overview, last_deliveries
from dicom_node.web.queries.refusals import count_refusals
from dicom_node.web.readiness import measured_disk, receiver_answers

_DRIFT_SECONDS = 600.0
"""Drift is of the last thousand cases: it does not change from one minute to the next."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What needs somebody, and the facts that say so; ``accepted_at`` is when each destination last took something.

    ``workers_at`` is the database's time, which the workers' beats are by.
    """

    attention: tuple[Attention, ...]
    facts: Facts
    workers_at: datetime
    accepted_at: dict[str, datetime | None]


def how_it_stands(session: Session, config: Config, at: datetime) -> Standing:
    """Put together how the node stands ``at`` a moment."""
    workers, workers_at = known_workers(session)
    facts = Facts(
        overview=get_overview(session, since=at - PERIOD, parked_since=at - PARKED_PERIOD, at=at),
        refusals=count_refusals(session, at - PERIOD),
        disk=measured_disk(config),
        models_installed=any(config.node.models_folder.glob("*/configs/node.yaml")),
        workers=workers,
        receiver_answers=receiver_answers(config),
        drifting=_drifting(session, config),
    )
    accepted_at = last_deliveries(session, [peer.name for peer in config.destinations])
    return Standing(what_is_wrong(facts, config, at), facts, workers_at, accepted_at)


@cached(TTLCache(maxsize=8, ttl=_DRIFT_SECONDS), key=lambda _session, config: config.database_url)
def _drifting(session: Session, config: Config) -> tuple[str, ...]:
    """The models whose input has shifted, of those that read."""
    views = view_bundles(config, read_deployments(session, config.versions_folder))
    return tuple(
        view.name
        for view in views
        if view.manifest is not None and view.manifest.enabled
        if any(row.has_shifted for row in model_drift(session, view.name, view.folder))
    )
