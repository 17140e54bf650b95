from __future__ import annotations

from fastapi.testclient import TestClient

from dicom_node.config import Config
from dicom_node.database import Database
from dicom_node.domain import DeliveryState, Role
from dicom_node.receive.refusal import Reason
from dicom_node.web import create_app
from tests.web.conftest import Records, log_in


def test_peers_are_shown_with_what_waits_for_them(client: TestClient, records: Records) -> None:
    records.whole_study()
    records.result("2.25.3")
    records.delivery("2.25.3", state=DeliveryState.PARKED, status=0x0122, message="Kind not supported.")

    text = client.get("/peers").text

    for expected in ("ARCHIVE", "pacs:104", "1 parked", "Kind not supported."):
        assert expected in text


def test_refusal_is_shown_with_cause_and_setting(client: TestClient, records: Records) -> None:
    records.refusal("association rejected: its calling AE title is not listed as a sender", Reason.UNLISTED_SENDER)
    text = "disk almost full: 1 MB free, 2 MB needed"
    records.refusal(text, Reason.DISK_FULL, sop_instance_uid="1.2.840.77", count=42)

    text = client.get("/peers").text

    for expected in (
        "STRANGER",
        "10.0.0.9",
        "ae_title: STRANGER",
        "receive.minimum_free_megabytes",
        "1.2.840.77",
        "42 times",
    ):
        assert expected in text
    assert text.index("disk almost full") < text.index("not listed as a sender"), "newest first"


def test_node_without_peers_says_what_to_configure(config: Config, database: Database) -> None:
    alone = config.model_copy(update={"peers": ()})

    text = log_in(create_app(alone, database), Role.VIEWER).get("/peers").text

    assert "No peer is configured" in text
    assert "Nothing has been refused" in text
