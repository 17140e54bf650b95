"""Who gets in, by what, and to which pages."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from http_message_signatures import HTTPMessageSigner, MappingKeyResolver, algorithms

from dicom_node.access.users import Users
from dicom_node.config import Config
from dicom_node.database import Database
from dicom_node.domain import Role, StudyState
from dicom_node.web.callers import PUBLIC_PATHS
from tests.web.conftest import CAPTURE, STUDY, Records, log_in

PASSWORD = "correct horse battery"
LOGIN = {"name": "jane", "password": PASSWORD}


@pytest.fixture
def jane(database: Database) -> None:
    Users(database).add("jane", Role.OPERATOR, PASSWORD)


def _routes(app: FastAPI) -> list[tuple[str, str]]:
    """Method and address of everything that the application serves, but for what is public."""
    values = defaultdict(lambda: "1", study_instance_uid=STUDY, sop_instance_uid=CAPTURE)
    found = [
        (method, (route.path or "").format_map(values))
        for route in iter_route_contexts(app.routes)
        if route.methods and route.path != app.openapi_url
        for method in route.methods - {"HEAD"}
    ]
    return [(method, path) for method, path in found if path not in PUBLIC_PATHS]


def test_nobody_gets_in_anywhere_but_to_the_login_and_the_health_of_the_node(
    app: FastAPI, anonymous: TestClient, records: Records
) -> None:
    records.whole_study()
    routes = _routes(app)
    assert len(routes) >= 10

    for method, path in routes:
        answer = anonymous.request(method, path)
        if path.startswith("/api/") or method != "GET":
            assert answer.status_code == 401, (method, path)
        else:
            assert (answer.status_code, answer.headers["location"].split("=")[0]) == (303, "/login?next"), path
        assert "Doe" not in answer.text
    assert {anonymous.get(path).status_code for path in PUBLIC_PATHS} == {200}


def test_what_changes_something_is_refused_to_viewers_wherever_it_is_added(
    app: FastAPI, records: Records, viewer: TestClient
) -> None:
    @app.post("/api/something-new")
    def change() -> str:
        return "changed"

    assert viewer.post("/api/something-new").status_code == 403
    assert log_in(app, Role.OPERATOR).post("/api/something-new").status_code == 200


def test_viewer_sees_the_study_but_neither_patient_nor_result_object(viewer: TestClient, records: Records) -> None:
    records.whole_study()

    page, study = viewer.get(f"/studies/{STUDY}"), viewer.get(f"/api/studies/{STUDY}")

    for text in (page.text, study.text, viewer.get("/").text, viewer.get("/api/studies").text):
        assert "Doe" not in text
        assert "PID-7" not in text
    assert "Lung tumour" in page.text
    assert "shown to operators" in page.text
    assert study.json()["accession_number"] == "A100"
    for ending in ("png", "dcm"):
        assert viewer.get(f"/studies/{STUDY}/results/{CAPTURE}.{ending}").status_code == 403


def test_viewer_releases_nothing(viewer: TestClient, records: Records) -> None:
    records.study(state=StudyState.RECEIVING)

    answer = viewer.post(f"/api/studies/{STUDY}/complete")

    assert answer.status_code == 403
    assert "operator" in answer.json()["detail"]


@pytest.mark.usefixtures("jane")
def test_login_opens_the_page_that_was_asked_for(anonymous: TestClient, records: Records) -> None:
    records.whole_study()
    first = anonymous.get(f"/studies/{STUDY}?x=1")

    anonymous.get(first.headers["location"])
    entered = anonymous.post("/login", data=LOGIN | {"next": f"/studies/{STUDY}?x=1"})

    assert (entered.status_code, entered.headers["location"]) == (303, f"/studies/{STUDY}?x=1")
    cookie = entered.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "Doe" in anonymous.get(f"/studies/{STUDY}").text


@pytest.mark.usefixtures("jane")
def test_cookie_is_for_this_host_and_tls_only_where_the_page_has_tls(app: FastAPI) -> None:
    browser = TestClient(app, base_url="https://node", follow_redirects=False)

    cookie = browser.post("/login", data=LOGIN).headers["set-cookie"]

    assert cookie.startswith("__Host-")
    assert "; Secure" in cookie
    assert browser.get("/").status_code == 200


@pytest.mark.usefixtures("jane")
@pytest.mark.parametrize("target", ["https://evil", "//evil", "/\\evil", "javascript:alert(1)", "/x\n//evil"])
def test_login_leads_to_no_other_site(anonymous: TestClient, target: str) -> None:
    assert anonymous.post("/login", data=LOGIN | {"next": target}).headers["location"] == "/"


@pytest.mark.usefixtures("jane")
def test_wrong_password_and_unknown_name_are_told_alike_and_slowed(anonymous: TestClient) -> None:
    wrong = anonymous.post("/login", data=LOGIN | {"password": "wrong"})
    unknown = anonymous.post("/login", data=LOGIN | {"name": "nobody"})

    assert (wrong.status_code, unknown.status_code) == (401, 401)
    assert wrong.text == unknown.text
    assert "set-cookie" not in wrong.headers
    statuses = [anonymous.post("/login", data=LOGIN | {"password": "wrong"}).status_code for _ in range(5)]
    assert statuses == [401] * 4 + [429]
    late = anonymous.post("/login", data=LOGIN)
    assert late.status_code == 429
    assert int(late.headers["retry-after"]) > 0


@pytest.mark.usefixtures("jane")
def test_logging_out_ends_the_session_also_for_who_kept_the_cookie(anonymous: TestClient) -> None:
    anonymous.post("/login", data=LOGIN)
    cookies = dict(anonymous.cookies)
    token = anonymous.get("/account").text.partition('name="csrf_token" value="')[2].partition('"')[0]

    assert anonymous.post("/logout", data={"csrf_token": token}).headers["location"] == "/login"

    anonymous.cookies.update(cookies)
    assert anonymous.get("/").status_code == 303


@pytest.mark.usefixtures("jane")
def test_password_is_changed_by_who_knows_it(anonymous: TestClient) -> None:
    anonymous.post("/login", data=LOGIN)
    token = anonymous.get("/account").text.partition('name="csrf_token" value="')[2].partition('"')[0]
    form = {"csrf_token": token, "current": PASSWORD, "fresh": "another long password"}

    assert anonymous.post("/account", data=form | {"current": "wrong"}).status_code == 401
    weak = anonymous.post("/account", data=form | {"fresh": "short"})
    changed = anonymous.post("/account", data=form)

    assert weak.status_code == 422
    assert "12 to 256 characters" in weak.text
    assert changed.headers["location"] == "/login"
    assert anonymous.get("/").status_code == 303  # the old session has ended
    assert anonymous.post("/login", data=LOGIN).status_code == 401


@pytest.mark.parametrize("token", ["", "0" * 64])
def test_form_of_another_site_changes_nothing(app: FastAPI, records: Records, token: str) -> None:
    records.study(state=StudyState.RECEIVING)
    browser = log_in(app, Role.OPERATOR)
    del browser.headers["X-CSRF-Token"]

    answers = [
        browser.post(f"/api/studies/{STUDY}/complete"),
        browser.post(f"/api/studies/{STUDY}/complete", headers={"X-CSRF-Token": token}),
        browser.post("/logout", data={"csrf_token": token}),
    ]

    assert [answer.status_code for answer in answers] == [403] * 3


def test_part_of_a_page_asked_for_without_session_is_no_login_page(anonymous: TestClient) -> None:
    assert anonymous.get("/", headers={"HX-Request": "true"}).status_code == 401


def test_first_password_file_goes_at_the_first_login(anonymous: TestClient, config: Config, database: Database) -> None:
    Users(database).add("admin", Role.ADMIN, PASSWORD)
    config.first_password_path.write_text(PASSWORD)

    anonymous.post("/login", data={"name": "admin", "password": PASSWORD})

    assert not config.first_password_path.exists()


def test_api_key_opens_what_its_role_may(app: FastAPI, anonymous: TestClient, records: Records) -> None:
    records.study(state=StudyState.RECEIVING)
    _, router = app.state.api_keys.add("router", Role.OPERATOR)
    _, monitoring = app.state.api_keys.add("monitoring", Role.VIEWER)

    def post(key: str) -> int:
        headers = {"Authorization": f"Bearer {key}"}
        return anonymous.post(f"/api/studies/{STUDY}/complete", headers=headers).status_code

    assert [post(router), post(monitoring), post(router + "x"), post("")] == [202, 403, 401, 401]


Sign = Callable[..., "dict[str, str]"]


@pytest.fixture
def sign(app: FastAPI) -> Sign:
    """Signs requests as RFC 9421 has it, with the key that ``dicom-node apikey add --signed`` prints."""
    key_id, secret = app.state.api_keys.add("machine", Role.OPERATOR, signs=True)
    resolver = MappingKeyResolver(public_keys={}, private_keys={key_id: secret.encode()})
    signer = HTTPMessageSigner(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=resolver)

    def headers(method: str, url: str, body: bytes | None = None, **changes: object) -> dict[str, str]:
        request = _Request(method, f"http://testserver{url}")
        options = {
            "created": datetime.now(UTC),
            "nonce": secrets.token_hex(16),
            "covered_component_ids": ("@method", "@path", "@query"),
        }
        signer.sign(request, key_id=key_id, body=body, **(options | changes))
        return request.headers

    return headers


class _Request:
    def __init__(self, method: str, url: str) -> None:
        self.method, self.url = method, url
        self.headers: dict[str, str] = {}


COMPLETE = f"/api/studies/{STUDY}/complete"


def test_signed_request_is_taken_once(anonymous: TestClient, records: Records, sign: Sign) -> None:
    records.study(state=StudyState.RECEIVING)
    headers = sign("POST", COMPLETE)

    first, again = anonymous.post(COMPLETE, headers=headers), anonymous.post(COMPLETE, headers=headers)

    assert (first.status_code, again.status_code) == (202, 401)
    assert "taken before" in again.json()["detail"]


def test_signed_request_is_refused_for_another_path_method_query_or_body(
    anonymous: TestClient, records: Records, sign: Sign
) -> None:
    records.whole_study()

    assert anonymous.get("/api/studies?limit=1", headers=sign("GET", "/api/studies?limit=1")).status_code == 200
    assert anonymous.get("/api/studies?limit=2", headers=sign("GET", "/api/studies?limit=1")).status_code == 401
    assert anonymous.get("/api/peers", headers=sign("GET", "/api/studies")).status_code == 401
    assert anonymous.post(COMPLETE, headers=sign("GET", COMPLETE)).status_code == 401
    signed = sign("POST", COMPLETE, b"a")
    assert anonymous.post(COMPLETE, content=b"b", headers=signed).status_code == 401
    assert anonymous.post(COMPLETE, content=b"b", headers=sign("POST", COMPLETE)).status_code == 401
    assert anonymous.post(COMPLETE, content=b"a", headers=sign("POST", COMPLETE, b"a")).status_code == 409


@pytest.mark.parametrize(
    "changes",
    [
        {"created": datetime.now(UTC) - timedelta(hours=1)},
        {"created": datetime.now(UTC) + timedelta(hours=1)},
        {"nonce": None},
        {"nonce": "n" * 65},
        {"covered_component_ids": ("@method",)},
    ],
)
def test_stale_or_incomplete_signature_is_refused(
    anonymous: TestClient, sign: Sign, changes: dict[str, object]
) -> None:
    answer = anonymous.get("/api/studies", headers=sign("GET", "/api/studies", **changes))

    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("headers", [{"Signature-Input": "x"}, {"Signature-Input": "", "Signature": "\t"}])
def test_broken_signature_is_refused(anonymous: TestClient, headers: dict[str, str]) -> None:
    assert anonymous.get("/api/studies", headers=headers).status_code == 401


def test_request_larger_than_allowed_is_refused_by_its_length_and_as_it_comes(
    database: Database, config: Config, client: TestClient
) -> None:
    megabyte = b"x" * (1 << 20)

    announced = client.post("/logout", content=megabyte * 65)
    chunked = client.post("/logout", content=iter([b"name="] + [megabyte] * 65), headers=FORM)

    assert (announced.status_code, chunked.status_code) == (413, 413)


FORM = {"Content-Type": "application/x-www-form-urlencoded"}
