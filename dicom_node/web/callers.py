"""Who asks: a user's session, an API key or a signed request; and whether that one may ask for this."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, HTTPException, Request

from dicom_node.access.api_keys import ApiKeys
from dicom_node.access.sessions import Sessions, csrf_token, is_csrf_token
from dicom_node.access.signed_requests import BadSignature, SignedRequest, verify
from dicom_node.database import now
from dicom_node.domain import Role
from dicom_node.web.security import SAFE_METHODS

_HEALTH = frozenset({"/healthz", "/readyz"})
PUBLIC_PATHS = frozenset({"/login", *_HEALTH})
"""What anybody may ask for; everything else needs a caller, also what is added later."""

SIGN_ON_PATH, SIGN_ON_RETURN_PATH = "/login/organisation", "/login/organisation/return"
"""Public too, where single sign-on is configured; else there is nothing."""

_OWN_AFFAIRS = frozenset({"/logout", "/account"})
CSRF_FIELD = "csrf_token"
CSRF_HEADER = "X-CSRF-Token"
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who may come in. ``session_token`` is None of machine callers."""

    name: str
    role: Role
    address: str
    session_token: str | None = None

    @property
    def csrf_token(self) -> str:
        """What this caller's forms must carry; empty for machine callers, whom no page can make ask."""
        return csrf_token(self.session_token) if self.session_token else ""


class NotLoggedIn(HTTPException):
    """Nobody that the node knows asks."""

    def __init__(self, detail: str = "Log in, or send an API key as 'Authorization: Bearer …'.") -> None:
        super().__init__(HTTPStatus.UNAUTHORIZED, detail, {"WWW-Authenticate": "Bearer"})


async def _form_token(request: Request) -> str:
    """The token that a form of a page carries; programs send it as a header."""
    is_form = request.headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM
    if request.method in SAFE_METHODS or not is_form:
        return request.headers.get(CSRF_HEADER, "")
    return str((await request.form()).get(CSRF_FIELD, ""))


def admit(request: Request, form_token: Annotated[str, Depends(_form_token)]) -> None:
    """Let a request through to its route: sets ``request.state.caller``, or says why not.

    Whoever is let in may read; what changes something needs an operator, and a route may ask for more.
    """
    # Whether the node is well must be told without its database.
    caller = None if request.url.path in _HEALTH else _caller(request)
    request.state.caller = caller
    if request.url.path in PUBLIC_PATHS or request.url.path in (SIGN_ON_PATH, SIGN_ON_RETURN_PATH):
        return
    if caller is None:
        raise NotLoggedIn
    if request.method in SAFE_METHODS:
        return
    if request.url.path not in _OWN_AFFAIRS:
        needs(Role.OPERATOR)(caller)
    if caller.session_token is not None and not is_csrf_token(form_token, caller.session_token):
        raise HTTPException(HTTPStatus.FORBIDDEN, "The form is not of this session. Load the page again.")


def _caller(request: Request) -> Caller | None:
    sessions: Sessions = request.app.state.sessions
    keys: ApiKeys = request.app.state.api_keys
    address = request.client.host if request.client else ""
    if "signature-input" in request.headers:
        signed = SignedRequest(request.method, str(request.url), request.headers, request.scope["signed_body"])
        try:
            key = verify(signed, keys, now())
        except BadSignature as error:
            raise NotLoggedIn(f"{str(error)[0].upper()}{str(error)[1:]}.") from error
        return Caller(key.name, key.role, address)
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        bearer = keys.identify(credentials.strip(), now())
        if bearer is None:
            raise NotLoggedIn("The API key is wrong, has ended, or was revoked.")
        return Caller(bearer.name, bearer.role, address)
    token = request.cookies.get(cookie_name(request), "")
    found = sessions.find(token, now()) if token else None
    return Caller(found.user_name, found.role, address, token) if found else None


def cookie_name(request: Request) -> str:
    """The name of the session's cookie: bound to the host by its prefix with TLS, and of this port's node only."""
    prefix = "__Host-" if request.url.scheme == "https" else ""
    return f"{prefix}dicom-node-{request.url.port or 0}"


def _current_caller(request: Request) -> Caller:
    caller: Caller | None = request.state.caller
    if caller is None:
        raise NotLoggedIn
    return caller


CurrentCaller = Annotated[Caller, Depends(_current_caller)]


def needs(role: Role) -> Callable[[Caller], None]:
    """A dependency that refuses callers of a lesser role."""

    def check(caller: CurrentCaller) -> None:
        if not caller.role.may_act_as(role):
            raise HTTPException(
                HTTPStatus.FORBIDDEN, f"This needs the role {role.value}; {caller.name} is {caller.role.value}."
            )

    return check


OPERATORS = Depends(needs(Role.OPERATOR))
"""For routes that show a patient; those that change something need an operator anyway."""

ADMINISTRATORS = Depends(needs(Role.ADMIN))
"""For routes that show or change who may do what."""
