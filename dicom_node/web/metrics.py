"""The node's figures for Prometheus. They come from the database, so that any web process tells of the whole node."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dicom_node.config import Config
from dicom_node.database import Database, now
from dicom_node.domain import DeliveryState, StudyState
from dicom_node.liveness import known_workers
from dicom_node.tables import FindingRow, InstanceRow
from dicom_node.web.attention import PARKED_PERIOD, PERIOD
from dicom_node.web.changes import STREAM
from dicom_node.web.queries.overview import IN_PROGRESS, Overview, get_overview, last_deliveries
from dicom_node.web.queries.refusals import count_refusals
from dicom_node.web.readiness import measured_disk, receiver_answers

_MEGABYTE = 1 << 20


class NodeCollector(Collector):
    """Asks the database when it is scraped; the figures are those of the overview, and name no patient."""

    def __init__(self, config: Config, database: Database) -> None:
        self._config, self._database = config, database

    def describe(self) -> list[Metric]:
        """Nothing: the database need not be there when the collector is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every figure, at this moment."""
        at = now()
        names = [peer.name for peer in self._config.destinations]
        with self._database.reading() as session:
            overview = get_overview(session, since=at - PERIOD, parked_since=at - PARKED_PERIOD, at=at)
            workers, workers_at = known_workers(session)
            refusals = count_refusals(session, at - PERIOD)
            delivered = last_deliveries(session, names)
            instances = session.scalar(sa.select(sa.func.max(InstanceRow.id))) or 0
            findings = session.scalar(sa.select(sa.func.max(FindingRow.id))) or 0
        if (listens := receiver_answers(self._config)) is not None:
            yield _gauge("receiver_up", "Whether the receiver of this machine listens.", listens)
        worker_up = GaugeMetricFamily("dicom_node_worker_up", "Whether a worker tells of itself.", labels=["worker"])
        for worker in workers:
            worker_up.add_metric([worker.worker_id], worker.is_alive(workers_at))
        yield worker_up
        yield from _studies(overview, at)
        yield from _deliveries(overview, names, delivered)
        yield CounterMetricFamily("dicom_node_instances_received", "Instances taken over.", value=instances)
        yield CounterMetricFamily("dicom_node_findings", "Findings made.", value=findings)
        yield _gauge("refusals", "What the receiver refused in the last 24 hours.", refusals)
        if (disk := measured_disk(self._config)) is not None:
            yield _gauge("disk_free_bytes", "Room on the disk of the data folder.", disk.free_megabytes * _MEGABYTE)
            needed = disk.needed_megabytes * _MEGABYTE
            yield _gauge("disk_needed_bytes", "Room below which images are refused.", needed)


def _studies(overview: Overview, at: datetime) -> Iterator[Metric]:
    studies = GaugeMetricFamily("dicom_node_studies_in_progress", "Studies that have not ended.", labels=["state"])
    ended = GaugeMetricFamily("dicom_node_studies_ended", "Studies of the last 24 hours that ended.", labels=["state"])
    for state in StudyState:
        family, counts = (studies, overview.in_progress) if state in IN_PROGRESS else (ended, overview.ended)
        family.add_metric([state.value], counts.get(state, 0))
    yield studies
    yield ended
    waited = 0.0 if overview.queued_since is None else (at - overview.queued_since).total_seconds()
    yield _gauge("oldest_queued_seconds", "For how long the oldest study has been queued.", waited)
    if overview.turnaround is not None:
        turnaround = GaugeMetricFamily(
            "dicom_node_turnaround_seconds", "From last image to delivery, of the last 24 hours.", labels=["quantile"]
        )
        turnaround.add_metric(["0.5"], overview.turnaround.median)
        turnaround.add_metric(["0.95"], overview.turnaround.percentile_95)
        yield turnaround


def _deliveries(overview: Overview, names: list[str], delivered: dict[str, datetime | None]) -> Iterator[Metric]:
    backlog = GaugeMetricFamily(
        "dicom_node_delivery_backlog", "Results that a destination has not taken.", labels=["destination", "state"]
    )
    last = GaugeMetricFamily(
        "dicom_node_last_delivery_timestamp_seconds", "When it last took one.", labels=["destination"]
    )
    counts = {(entry.destination, entry.state): entry.count for entry in overview.backlogs}
    for name in names:
        for state in (DeliveryState.RETRYING, DeliveryState.PARKED):
            backlog.add_metric([name, state.value], counts.get((name, state), 0))
        moment = delivered[name]
        if moment is not None:
            last.add_metric([name], moment.timestamp())
    yield backlog
    yield last


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(f"dicom_node_{name}", documentation, value=value)


class Metrics:
    """Owns the registry of one application: the node's figures, and this process'."""

    def __init__(self, config: Config, database: Database) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(NodeCollector(config, database))
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = Histogram(
            "dicom_node_http_request_seconds",
            "Time to answer a request to this web process.",
            ["method", "route", "status"],
            registry=self.registry,
        )


class Timed:
    """ASGI middleware: counts and times requests by route, never by address, which may hold a patient's ID."""

    def __init__(self, app: ASGIApp, requests: Histogram) -> None:
        self._app, self._requests = app, requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        finally:
            route = getattr(scope.get("route"), "path", "") or "none"
            if route != STREAM:  # which is open for as long as its page
                self._requests.labels(scope["method"], route, status).observe(time.perf_counter() - begun)
