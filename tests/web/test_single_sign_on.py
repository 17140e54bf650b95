"""Logging in with an identity provider, a real server on another port."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import oidc_provider_mock
import pytest
from fastapi.testclient import TestClient
from oidc_provider_mock import User
from pydantic import ValidationError
from werkzeug.serving import make_server

from dicom_node.access.single_sign_on import SignOnRefused, signed_on
from dicom_node.access.users import UserError, Users
from dicom_node.config import Config, OidcSection
from dicom_node.database import Database
from dicom_node.domain import Role
from dicom_node.web.app import create_app
from tests.audit.schema import event_of, read_messages
from tests.web.conftest import STUDY, Records

ROLES = {"radiology": "operator", "it": "admin"}
PEOPLE = [
    User(sub="1", claims={"preferred_username": "jane", "groups": ["radiology", "everybody"]}),
    User(sub="2", claims={"preferred_username": "admin", "groups": ["everybody"]}),
]


class Provider:
    """Runs the provider, and keeps what was posted for tokens."""

    def __init__(self) -> None:
        self.token_requests: list[dict[str, list[str]]] = []
        app = oidc_provider_mock.app(user_claims=PEOPLE)

        def recording(environ: dict, start_response: Callable) -> object:
            if environ["PATH_INFO"] == "/oauth2/token":
                body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
                environ["wsgi.input"] = BytesIO(body)
                self.token_requests.append(parse_qs(body.decode()))
            return app(environ, start_response)

        self._server = make_server("localhost", 0, recording, threaded=True)
        self.issuer = f"http://localhost:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @staticmethod
    def log_in(address: str, subject: str) -> str:
        """What a person does on the provider's page; returns where it leads."""
        answer = httpx.post(address, data={"sub": subject})
        assert answer.status_code == 302, answer.text
        return answer.headers["location"]


@pytest.fixture
def provider() -> Iterator[Provider]:
    running = Provider()
    yield running
    running.stop()


@pytest.fixture
def make_browser(config: Config, database: Database, provider: Provider, tmp_path: Path) -> Callable[..., TestClient]:
    secret = tmp_path / "secret"
    secret.write_text("known to both\n")

    def make(**settings: object) -> TestClient:
        oidc = OidcSection.model_validate(
            {
                "issuer": provider.issuer,
                "client_id": "dicom-node",
                "client_secret_file": secret,
                "label": "the clinic",
                "roles": ROLES,
            }
            | settings
        )
        configured = config.model_copy(update={"web": config.web.model_copy(update={"oidc": oidc})})
        app = create_app(configured, database)
        return TestClient(app, "https://node", raise_server_exceptions=False, follow_redirects=False)

    return make


def _sign_on(browser: TestClient, subject: str, target: str = "/") -> httpx.Response:
    begun = browser.get("/login/organisation", params={"next": target})
    assert begun.status_code == 303
    return browser.get(Provider.log_in(begun.headers["location"], subject))


def test_somebody_with_a_role_comes_in_and_goes_where_they_wanted(
    make_browser: Callable[..., TestClient], provider: Provider, records: Records, config: Config
) -> None:
    records.whole_study()
    browser = make_browser()
    assert "Log in with the clinic" in browser.get("/login").text

    entered = _sign_on(browser, "1", f"/studies/{STUDY}")

    assert entered.status_code == 200
    assert f'content="0;url=/studies/{STUDY}"' in entered.text
    cookie = next(value for value in entered.headers.get_list("set-cookie") if value.startswith("__Host-"))
    assert "samesite=strict" in cookie.lower()
    assert "Doe" in browser.get(f"/studies/{STUDY}").text  # an operator sees the patient
    assert event_of(read_messages(config.audit_folder)[0])[1:] == ("Login", "0", "oidc:jane")


def test_the_code_is_bound_to_the_login_that_asked_for_it(
    make_browser: Callable[..., TestClient], provider: Provider
) -> None:
    browser = make_browser()
    begun = browser.get("/login/organisation")
    asked = parse_qs(urlsplit(begun.headers["location"]).query)

    browser.get(Provider.log_in(begun.headers["location"], "1"))

    [verifier] = provider.token_requests[0]["code_verifier"]
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    assert (asked["code_challenge_method"], asked["code_challenge"]) == (["S256"], [challenge])
    assert asked["redirect_uri"] == ["https://node/login/organisation/return"]
    assert len(asked["state"][0]) > 30
    assert len(asked["nonce"][0]) > 30


def test_somebody_without_a_role_stays_out_and_never_becomes_the_local_user_of_that_name(
    make_browser: Callable[..., TestClient], database: Database
) -> None:
    Users(database).add("admin", Role.ADMIN, "correct horse battery")
    browser = make_browser()

    refused = _sign_on(browser, "2")

    assert refused.status_code == 403
    assert "admin has no role on this node" in refused.text
    assert browser.get("/").status_code == 303
    with_default = make_browser(default_role="viewer")
    assert _sign_on(with_default, "2").status_code == 200
    assert {user.name: user.role for user in Users(database).all()} == {"admin": Role.ADMIN, "oidc:admin": Role.VIEWER}


def test_a_disabled_user_stays_out_and_no_password_opens_the_account(
    make_browser: Callable[..., TestClient], database: Database
) -> None:
    browser = make_browser()
    assert _sign_on(browser, "1").status_code == 200
    users = Users(database)
    users.disable("oidc:jane")

    refused = _sign_on(browser, "1")

    assert refused.status_code == 403
    assert "oidc:jane is disabled" in refused.text
    users.enable("oidc:jane")
    assert users.identify("oidc:jane", "") is None
    with pytest.raises(UserError, match="identity provider"):
        users.set_password("oidc:jane", "correct horse battery")


def test_what_another_browser_began_lets_nobody_in(make_browser: Callable[..., TestClient]) -> None:
    victim, attacker = make_browser(), make_browser()
    begun = attacker.get("/login/organisation")
    address = Provider.log_in(begun.headers["location"], "1")

    without_login = victim.get(address)
    victim.get("/login/organisation")
    with_another = victim.get(address)

    assert (without_login.status_code, with_another.status_code) == (403, 403)
    assert "Begin again" in with_another.text
    assert victim.get("/").status_code == 303


def test_local_users_come_in_while_the_provider_is_away(
    make_browser: Callable[..., TestClient], provider: Provider, database: Database
) -> None:
    Users(database).add("admin", Role.ADMIN, "correct horse battery")
    browser = make_browser()
    provider.stop()

    page = browser.get("/login/organisation")

    assert page.status_code == 502
    assert "cannot be asked" in page.text
    assert "Traceback" not in page.text
    entered = browser.post("/login", data={"name": "admin", "password": "correct horse battery"})
    assert entered.status_code == 303


def test_a_provider_of_another_name_is_not_believed(
    make_browser: Callable[..., TestClient], provider: Provider
) -> None:
    browser = make_browser(issuer=provider.issuer.replace("localhost", "127.0.0.1") + "/")

    page = browser.get("/login/organisation")

    assert page.status_code == 502
    assert "calls itself" in page.text


def test_without_configuration_there_is_no_such_login(anonymous: TestClient) -> None:
    assert anonymous.get("/login/organisation").status_code == 404
    assert "organisation" not in anonymous.get("/login").text


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        ({"groups": ["radiology", "it"]}, Role.ADMIN),
        ({"groups": "radiology"}, Role.OPERATOR),
        ({"groups": ["Radiology"]}, None),
        ({"groups": None}, None),
        ({"realm_access": {"roles": ["it"]}}, None),
        ({}, None),
    ],
)
def test_the_highest_role_that_the_claims_give_counts(claims: dict[str, object], role: Role | None) -> None:
    settings = OidcSection.model_validate({"issuer": "https://id.example", "client_id": "node", "roles": ROLES})
    claims = {"preferred_username": "jane", **claims}

    if role is None:
        with pytest.raises(SignOnRefused, match="no role"):
            signed_on(claims, settings)
    else:
        assert signed_on(claims, settings).role is role


def test_roles_may_lie_deeper_in_the_claims() -> None:
    settings = OidcSection.model_validate(
        {"issuer": "https://id.example", "client_id": "n", "roles": ROLES, "role_claim": "realm_access.roles"}
    )

    claims = {"preferred_username": "jane", "realm_access": {"roles": ["it"]}}

    assert signed_on(claims, settings).role is Role.ADMIN


@pytest.mark.parametrize("name", [None, "", "a" * 60, "a\nb", 7])
def test_a_name_that_is_none_is_refused(name: object) -> None:
    settings = OidcSection.model_validate({"issuer": "https://id.example", "client_id": "n", "default_role": "viewer"})

    with pytest.raises(SignOnRefused, match="no usable name"):
        signed_on({"preferred_username": name}, settings)


@pytest.mark.parametrize(
    "settings", [{"issuer": "http://id.example"}, {"roles": {}}, {"scopes": ["profile"]}, {"issuer": "id.example"}]
)
def test_settings_that_are_unsafe_or_let_nobody_in_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        OidcSection.model_validate(
            {"issuer": "https://id.example", "client_id": "node", "roles": ROLES, "name_claim": "sub"} | settings
        )
