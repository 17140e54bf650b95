from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from dicom_node.domain import DeliveryState, StudyState
from tests.web.conftest import CAPTURE, STUDY, Records

DASHBOARD = Path(__file__).parents[2] / "config" / "grafana-dashboard.json"


def _values(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_figures_are_those_of_the_database(viewer: TestClient, records: Records) -> None:
    records.whole_study()
    records.study("1.9", state=StudyState.QUEUED, state_changed_at=records.at - timedelta(minutes=10))
    records.result("2.25.9")
    records.delivery("2.25.9", state=DeliveryState.PARKED)
    records.refusal("data set ends inside an element")

    values = _values(viewer.get("/metrics").text)

    assert values["dicom_node_studies_in_progress", "queued"] == 1
    assert values["dicom_node_studies_ended", "delivered"] == 1
    assert values["dicom_node_delivery_backlog", "archive", "parked"] == 1
    assert values["dicom_node_delivery_backlog", "archive", "retrying"] == 0
    assert values["dicom_node_refusals",] == 1
    assert values["dicom_node_instances_received_total",] == 2
    assert values["dicom_node_turnaround_seconds", "0.95"] == 14
    assert 590 < values["dicom_node_oldest_queued_seconds",] < 700


def test_requests_are_counted_by_route_and_no_patient_is_named(client: TestClient, records: Records) -> None:
    records.whole_study()
    client.get(f"/studies/{STUDY}")
    client.get("/studies?patient=Doe")

    text = client.get("/metrics").text

    assert _values(text)["dicom_node_http_request_seconds_count", "GET", "/studies/{study_instance_uid}", "200"] == 1
    for secret in ("Doe", "PID-7", "A100", STUDY, CAPTURE):
        assert secret not in text


def test_figures_are_for_callers_only(anonymous: TestClient) -> None:
    assert anonymous.get("/metrics").status_code in (303, 401)


def test_dashboard_asks_for_figures_that_there_are(client: TestClient, records: Records) -> None:
    records.whole_study()
    records.delivery("2.25.1", destination="other")
    client.get("/")
    names = {name for name, *_ in _values(client.get("/metrics").text)}

    asked = set(re.findall(r"dicom_node_\w+", " ".join(_expressions(json.loads(DASHBOARD.read_text())))))

    assert len(asked) > 10
    assert asked - names <= {
        "dicom_node_worker_up",
        "dicom_node_last_delivery_timestamp_seconds",
        "dicom_node_receiver_up",
    }


def _expressions(dashboard: dict) -> list[str]:
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
