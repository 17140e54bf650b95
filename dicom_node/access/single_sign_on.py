"""Logging in where the organisation's people do: OpenID Connect, authorization code flow with PKCE (RFC 7636)."""

from __future__ import annotations

import hmac
import secrets
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import OAuth2Client
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OctKey

from dicom_node.access.secret import derived_secret, node_secret
from dicom_node.access.users import SIGN_ON_PREFIX
from dicom_node.config import OidcSection
from dicom_node.domain import Role

_PURPOSE = "single sign-on"
_PATIENCE = timedelta(minutes=10)
_KEPT_FOR = timedelta(hours=1)
_CLOCK_SKEW_SECONDS = 60
_TIMEOUT_SECONDS = 10.0
_LONGEST_NAME = 64 - len(SIGN_ON_PREFIX)
# Never "none", and no shared secrets: whoever can check such a token could make one.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


class SignOnRefused(Exception):
    """Nobody is let in; the text says why to whoever tried."""


class ProviderUnreachable(Exception):
    """The identity provider does not answer as one should; the text says what it did, for the log and the page."""


@dataclass(frozen=True, slots=True)
class SignedOn:
    """Somebody whom the provider vouches for. ``name`` cannot be a local user's."""

    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class _Provider:
    """What the provider says of itself (OpenID Connect Discovery 1.0), and its keys."""

    endpoints: Mapping[str, Any]
    keys: KeySet
    asked_at: datetime


class SingleSignOn:
    """Sends people to the identity provider, and takes back whom it vouches for.

    What belongs to a login that is under way travels in the browser, signed by the node, so that any web process can
    end what another has begun.
    """

    def __init__(self, settings: OidcSection, secret_path: Path) -> None:
        self.label = settings.label
        self._settings = settings
        self._secret_path = secret_path
        self._provider: _Provider | None = None
        self._lock = threading.Lock()

    def begin(self, redirect_uri: str, target: str, at: datetime) -> tuple[str, str]:
        """The provider's address for this login, and what the browser has to bring back with it.

        Raises:
            ProviderUnreachable: it does not say where people log in.
        """
        state, nonce, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(64)
        with self._client(redirect_uri) as client:
            address, _ = client.create_authorization_url(
                self._known_provider(at).endpoints["authorization_endpoint"],
                state=state,
                nonce=nonce,
                code_verifier=verifier,
            )
        ends_at = int((at + _PATIENCE).timestamp())
        brought = {"state": state, "nonce": nonce, "verifier": verifier, "next": target, "exp": ends_at}
        return str(address), jwt.encode({"alg": "HS256"}, brought, self._key())

    def finish(self, brought: str, state: str, code: str, redirect_uri: str, at: datetime) -> tuple[SignedOn, str]:
        """Who has logged in with the provider, and where that one wanted to go.

        Raises:
            SignOnRefused: the login did not begin here, took too long, or the provider gives that one no role here.
            ProviderUnreachable: the provider does not answer, or with what cannot be trusted.
        """
        login = self._login_under_way(brought, at)
        if not hmac.compare_digest(str(login["state"]), state):
            raise SignOnRefused("This login did not begin in this browser. Begin again.")
        try:
            with self._client(redirect_uri) as client:
                endpoints = self._known_provider(at).endpoints
                token = client.fetch_token(
                    endpoints["token_endpoint"],
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=login["verifier"],
                )
                claims = self._claims(str(token["id_token"]), str(login["nonce"]), at)
                if self._settings.role_claim not in claims and "userinfo_endpoint" in endpoints:
                    more = client.get(endpoints["userinfo_endpoint"]).raise_for_status().json()
                    if more.get("sub") == claims["sub"]:
                        claims = more | claims
        except (AuthlibBaseError, httpx.HTTPError, JoseError, KeyError, ValueError) as error:
            raise ProviderUnreachable(f"the identity provider's answer is no login ({type(error).__name__})") from error
        return signed_on(claims, self._settings), str(login["next"])

    def _login_under_way(self, brought: str, at: datetime) -> dict[str, Any]:
        try:
            login = jwt.decode(brought, self._key(), algorithms=["HS256"]).claims
            jwt.JWTClaimsRegistry(now=int(at.timestamp()), exp={"essential": True}).validate(login)
        except (JoseError, ValueError) as error:
            raise SignOnRefused("This login took too long, or did not begin in this browser. Begin again.") from error
        return login

    def _claims(self, id_token: str, nonce: str, at: datetime) -> dict[str, Any]:
        """The claims of an ID token that is for this node and this login (OpenID Connect Core 3.1.3.7)."""
        try:
            token = jwt.decode(id_token, self._known_provider(at).keys, algorithms=_ALGORITHMS)
        except (JoseError, ValueError):  # the provider may have changed its keys
            token = jwt.decode(id_token, self._ask_provider(at).keys, algorithms=_ALGORITHMS)
        jwt.JWTClaimsRegistry(
            now=int(at.timestamp()),
            leeway=_CLOCK_SKEW_SECONDS,
            iss={"essential": True, "value": self._settings.issuer},
            aud={"essential": True, "value": self._settings.client_id},
            nonce={"essential": True, "value": nonce},
            sub={"essential": True},
            exp={"essential": True},
        ).validate(token.claims)
        return token.claims

    def _known_provider(self, at: datetime) -> _Provider:
        known = self._provider
        return known if known is not None and at - known.asked_at < _KEPT_FOR else self._ask_provider(at)

    def _ask_provider(self, at: datetime) -> _Provider:
        with self._lock:
            try:
                with httpx.Client(timeout=_TIMEOUT_SECONDS, verify=self._trust()) as client:
                    address = f"{self._settings.issuer.rstrip('/')}/.well-known/openid-configuration"
                    endpoints = client.get(address).raise_for_status().json()
                    keys = client.get(endpoints["jwks_uri"]).raise_for_status().json()
                if endpoints["issuer"] != self._settings.issuer:
                    raise ProviderUnreachable(
                        f"the identity provider calls itself {endpoints['issuer']}: set web.oidc.issuer to that"
                    )
                self._provider = _Provider(endpoints, KeySet.import_key_set(keys), at)
            except (httpx.HTTPError, JoseError, KeyError, ValueError) as error:
                raise ProviderUnreachable(
                    f"the identity provider at {self._settings.issuer} cannot be asked ({type(error).__name__})"
                ) from error
            return self._provider

    def _client(self, redirect_uri: str) -> OAuth2Client:
        file = self._settings.client_secret_file
        return OAuth2Client(
            self._settings.client_id,
            None if file is None else file.read_text(encoding="utf-8").strip(),
            token_endpoint_auth_method="none" if file is None else "client_secret_basic",
            scope=" ".join(self._settings.scopes),
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            timeout=_TIMEOUT_SECONDS,
            verify=self._trust(),
        )

    def _trust(self) -> ssl.SSLContext:
        authorities = self._settings.authorities
        return ssl.create_default_context(cafile=None if authorities is None else str(authorities))

    def _key(self) -> OctKey:
        return OctKey.import_key(derived_secret(node_secret(self._secret_path), _PURPOSE, ""))


def signed_on(claims: Mapping[str, Any], settings: OidcSection) -> SignedOn:
    """Whom claims are about, and the highest of the roles that they give.

    Raises:
        SignOnRefused: they give no name, or no role.
    """
    name = claims.get(settings.name_claim)
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        raise SignOnRefused(f"The login of your organisation gives no usable name ({settings.name_claim}).")
    values = _claim(claims, settings.role_claim)
    given = {str(value) for value in (values if isinstance(values, list) else [values])}
    roles = [role for value, role in settings.roles.items() if value in given]
    role = max(roles, key=list(Role).index) if roles else settings.default_role
    if role is None:
        raise SignOnRefused(f"{name} has no role on this node: ask whoever administers it.")
    return SignedOn(f"{SIGN_ON_PREFIX}{name}", role)


def _claim(claims: Mapping[str, Any], path: str) -> Any:
    """A claim by its name, or by the names that lead to it: ``realm_access.roles``."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
