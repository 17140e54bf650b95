from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from dicom_node.config import Config
from dicom_node.database import Database, now
from dicom_node.domain import DeliveryState, Evaluation, StudyState
from dicom_node.tables import WorkerRow
from tests.web.conftest import CAPTURE, SERIES, STUDY, Records, write_capture


def listed_uids(html: str) -> list[str]:
    return re.findall(r'href="/studies/([0-9.]+)"', html)


@pytest.fixture
def count_statements(database: Database, client: TestClient) -> Callable[[str], int]:
    """How many SELECT statements a page costs."""

    def count(path: str) -> int:
        statements: list[str] = []

        def note(_c: object, _cursor: object, statement: str, *_rest: object) -> None:
            statements.append(statement)

        sa.event.listen(database.engine, "before_cursor_execute", note)
        assert client.get(path).status_code == 200
        sa.event.remove(database.engine, "before_cursor_execute", note)
        return sum(statement.startswith(("SELECT", "WITH")) for statement in statements)

    return count


def test_empty_node_says_where_to_send_studies(client: TestClient) -> None:
    page = client.get("/")

    assert page.status_code == 200
    assert "No study has arrived yet" in page.text
    assert "<b>NODE</b>, <b>DICOM port 11112</b>" in page.text
    assert "Nothing needs attention" in page.text


def test_overview_shows_the_gpus_of_each_worker_and_what_fell_back(client: TestClient, records: Records) -> None:
    worker = {"host": "gpu-1", "version": "1", "life": "a", "started_at": records.at, "beat_at": now()}
    gpus = [
        {"name": "NVIDIA L4", "used_megabytes": 6144, "megabytes": 23_034},
        {"name": "NVIDIA T4", "used_megabytes": None, "megabytes": None},
    ]
    records.add(WorkerRow(worker_id="worker-1", gpus=gpus, trouble="lung_ct runs in PyTorch on the CPU", **worker))

    page = " ".join(client.get("/").text.split())

    assert 'NVIDIA L4: <span class="small">6 GB of 22 GB used' in page
    assert 'NVIDIA T4: <span class="small">does not answer' in page
    assert page.count("lung_ct runs in PyTorch on the CPU") == 2, "beside the worker, and where what is wrong is said"


def test_studies_are_listed_newest_first(client: TestClient, records: Records) -> None:
    records.study("1.1", timedelta(minutes=9))
    records.study("1.2", timedelta(minutes=1))
    records.study("1.3", timedelta(minutes=5))

    assert listed_uids(client.get("/").text) == ["1.2", "1.3", "1.1"]


def test_row_tells_study_state_and_finding_in_words_but_no_patient(client: TestClient, records: Records) -> None:
    records.whole_study()

    text = client.get("/").text

    for expected in ("A100", "CT chest", "2024-01-31", "PACS", "Delivered", "Lung tumour <b>present</b>", "87.3 %"):
        assert expected in text
    assert "Doe" not in text
    assert "PID-7" not in text


def test_findings_that_tell_most_come_first(client: TestClient, records: Records) -> None:
    records.study()
    records.analysis()
    records.finding(number=1, label="Normal variant", evaluation=Evaluation.ABSENT, probability=0.3)
    records.finding(number=2, label="Tumour", evaluation=Evaluation.PRESENT, probability=0.2)
    records.finding(number=3, label="Nodule", evaluation=Evaluation.INDETERMINATE, probability=0.25)

    text = client.get("/").text

    assert text.index("Tumour") < text.index("Nodule") < text.index("Normal variant")


def test_outcome_reason_is_shown(client: TestClient, records: Records) -> None:
    records.study(state=StudyState.NOT_APPLICABLE, reason="No series fits a model: MR images.")

    assert "No series fits a model: MR images." in client.get("/").text


@pytest.mark.parametrize("search", ["B2", "b2", "B200", "1.2.20"])
def test_search_finds_by_start_of_accession_number_or_study_uid(
    client: TestClient, records: Records, search: str
) -> None:
    records.study("1.2.10", accession_number="A100")
    records.study("1.2.20", accession_number="B200")

    assert listed_uids(client.get("/studies", params={"q": search}).text) == ["1.2.20"]


def test_search_takes_wildcards_literally(client: TestClient, records: Records) -> None:
    records.study()

    text = client.get("/studies", params={"q": "%"}).text

    assert listed_uids(text) == []
    assert "No study matches" in text


def test_filter_by_state(client: TestClient, records: Records) -> None:
    records.study("1.1", state=StudyState.FAILED)
    records.study("1.2")

    assert listed_uids(client.get("/studies", params={"state": "failed"}).text) == ["1.1"]
    assert len(listed_uids(client.get("/studies", params={"state": ""}).text)) == 2


@pytest.mark.parametrize("query", ["state=lost", "before=nonsense", "q=" + "x" * 65])
def test_wrong_query_is_explained_in_a_page(client: TestClient, query: str) -> None:
    page = client.get(f"/studies?{query}")

    assert page.status_code == 422
    assert "text/html" in page.headers["content-type"]
    assert query.partition("=")[0] in page.text


def test_older_studies_are_on_the_next_page(client: TestClient, records: Records) -> None:
    for number in range(53):
        records.study(f"1.{number}", timedelta(minutes=number))

    first = client.get("/studies").text
    older = re.search(r'href="([^"]+)">Older', first)
    assert older is not None
    second = client.get(older[1].replace("&amp;", "&")).text

    assert listed_uids(first) == [f"1.{number}" for number in range(50)]
    assert listed_uids(second) == ["1.50", "1.51", "1.52"]
    assert "Older" not in second
    assert "Newest" in second


def test_study_page_tells_everything(client: TestClient, records: Records, config: Config) -> None:
    records.whole_study()
    write_capture(config.results_folder / "capture.dcm")

    text = client.get(f"/studies/{STUDY}").text

    for expected in (
        "Doe, Jane",
        "PID-7",
        "Lung tumour <b>present</b>",
        "Operating point high recall: 35.0 %",
        "The best axial series of 2 that fit.",
        "First instance received from PACS.",
        f"/studies/{STUDY}/results/{CAPTURE}.png?frame=2",
        f"/studies/{STUDY}/results/{CAPTURE}.dcm",
        "accepted (0x0000)",
    ):
        assert expected in text


def test_study_page_of_an_unknown_study_is_not_found(client: TestClient) -> None:
    page = client.get("/studies/1.2.3.4")

    assert page.status_code == 404
    assert "holds no study with this UID" in page.text


@pytest.mark.parametrize("uid", ["abc", "1.2%00", "1" * 65])
def test_malformed_uid_is_not_found(client: TestClient, uid: str) -> None:
    assert client.get(f"/studies/{uid}").status_code == 404


@pytest.mark.parametrize("state", list(StudyState))
def test_study_page_shows_a_study_in_any_state_before_anything_else_is_known(
    client: TestClient, records: Records, state: StudyState
) -> None:
    records.study(state=state)

    assert client.get(f"/studies/{STUDY}").status_code == 200


def test_retried_delivery_tells_the_peers_words_and_the_next_attempt(client: TestClient, records: Records) -> None:
    records.whole_study()
    records.delivery(
        destination="second",
        state=DeliveryState.RETRYING,
        attempts=3,
        status=0xA700,
        message="Disk full.",
        next_attempt_at=records.at + timedelta(hours=2),
    )

    text = client.get(f"/studies/{STUDY}").text

    assert "3 attempts, the peer is out of resources, often a full disk (0xA700), next attempt in" in text
    assert "Disk full." in text


def test_series_that_came_after_the_analysis_says_so(client: TestClient, records: Records) -> None:
    records.whole_study()
    records.series("1.2.3.99", series_description="Late")

    assert "Arrived after the latest analysis." in client.get(f"/studies/{STUDY}").text


def test_superseded_analysis_is_kept_apart(client: TestClient, records: Records) -> None:
    records.whole_study()
    records.analysis("analysis-0", created_at=records.at - timedelta(hours=1), reason="Without the late images.")

    text = client.get(f"/studies/{STUDY}").text

    assert "Earlier analysis of" in text
    assert text.index("Lung tumour") < text.index("Without the late images.")


def test_dicom_text_is_escaped_everywhere(client: TestClient, records: Records) -> None:
    attack = "<script>alert(1)</script>"
    records.study(
        patient_name=attack,
        patient_id=attack,
        accession_number=attack,
        study_date="<b>12345",
        study_description=attack,
        calling_ae_title="<b>PACS</b>",
        reason=attack,
    )
    records.series(series_description=attack, modality="<b>CT</b>")
    records.analysis(reason=attack)
    records.decision(attack, model="<b>m</b>")
    records.finding(label=attack, class_probabilities={attack: 1.0})
    records.result(model="<b>m</b>")
    records.delivery(message=attack, state=DeliveryState.PARKED, destination=attack)
    records.event(attack)
    records.refusal(attack, calling_ae_title=attack)

    pages = [client.get(path).text for path in ("/", f"/studies/{STUDY}", "/peers", f"/?q={attack}")]

    for page in pages:
        assert attack not in page
        assert not re.search(r"<b>(PACS|CT|m|12345)", page)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in pages[1]


def test_pages_cost_the_same_number_of_statements_however_much_there_is(
    count_statements: Callable[[str], int], records: Records, database: Database
) -> None:
    records.whole_study()
    paths = ("/", "/studies", f"/studies/{STUDY}", "/peers")
    count_statements("/")  # which looks for drift once in ten minutes
    few = [count_statements(path) for path in paths]

    for number in range(20):
        records.study(f"1.{number}")
        records.series(f"1.{number}.1", f"1.{number}")
        records.series(f"{SERIES}.{number}")
        records.analysis(f"more-{number}", f"1.{number}")
        records.finding(f"more-{number}")
        records.finding(number=number + 2)
        records.analysis(f"again-{number}", created_at=records.at - timedelta(hours=2))
        records.result(f"2.26.{number}")
        records.delivery(f"2.26.{number}", state=DeliveryState.RETRYING, destination=f"peer-{number}")
        records.refusal("data set ends inside an element")

    assert [count_statements(path) for path in paths] == few
    assert max(few) <= 15 + database.is_shared  # a server is asked for its time, too
