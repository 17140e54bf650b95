"""Logging in, logging out, and one's own password."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from dicom_node.access.passwords import MAXIMUM_LENGTH, MINIMUM_LENGTH, WeakPassword
from dicom_node.access.sessions import Sessions
from dicom_node.access.users import FIRST_ADMINISTRATOR, SIGN_ON_PREFIX
from dicom_node.database import now
from dicom_node.web.auditing import CurrentAudit
from dicom_node.web.callers import Caller, CurrentCaller, cookie_name
from dicom_node.web.dependencies import CurrentConfig, CurrentSessions, CurrentThrottle, CurrentUsers, Templates

log = logging.getLogger(__name__)

router = APIRouter()

Name = Annotated[str, Form(max_length=64)]
Password = Annotated[str, Form(max_length=MAXIMUM_LENGTH)]

_WRONG = "The name or the password is wrong, or the user is disabled."


@router.get("/login")
def login_page(request: Request, templates: Templates, next: str = "/") -> Response:  # noqa: A002 - the query's name
    """The form; who is logged in already goes on."""
    caller: Caller | None = request.state.caller
    if caller is not None:
        return RedirectResponse(own_page(next), HTTPStatus.SEE_OTHER)
    return login_form(request, templates, next)


@router.post("/login")
def log_in(
    request: Request,
    templates: Templates,
    users: CurrentUsers,
    sessions: CurrentSessions,
    throttle: CurrentThrottle,
    config: CurrentConfig,
    audit: CurrentAudit,
    name: Name,
    password: Password,
    next: Annotated[str, Form()] = "/",  # noqa: A002 - the field's name
) -> Response:
    """Begin a session under a fresh token."""
    address = request.client.host if request.client else ""
    if wait := throttle.attempt(address, name):
        response = login_form(
            request, templates, next, f"Too many attempts. Try again in {wait} s.", HTTPStatus.TOO_MANY_REQUESTS
        )
        response.headers["Retry-After"] = str(wait)
        return response
    user_id = users.identify(name, password)
    if user_id is None:
        log.warning("a login from %s failed", address)
        audit.login(name, address, accepted=False)
        return login_form(request, templates, next, _WRONG, HTTPStatus.UNAUTHORIZED)
    throttle.forgive(address, name)
    audit.login(name, address, accepted=True)
    if name == FIRST_ADMINISTRATOR:
        config.first_password_path.unlink(missing_ok=True)
    response = RedirectResponse(own_page(next), HTTPStatus.SEE_OTHER)
    begin_session(request, response, sessions, user_id)
    return response


@router.post("/logout")
def log_out(request: Request, caller: CurrentCaller, sessions: CurrentSessions, audit: CurrentAudit) -> Response:
    """End the session."""
    response = RedirectResponse("/login", HTTPStatus.SEE_OTHER)
    if caller.session_token is not None:
        sessions.close(caller.session_token)
        audit.logout(caller)
        response.delete_cookie(
            cookie_name(request), httponly=True, samesite="strict", secure=request.url.scheme == "https"
        )
    return response


@router.get("/account")
def account_page(request: Request, caller: CurrentCaller, templates: Templates) -> Response:
    """Who one is, and the form for another password."""
    return _account(request, templates, "")


@router.post("/account")
def change_password(
    request: Request,
    caller: CurrentCaller,
    templates: Templates,
    users: CurrentUsers,
    throttle: CurrentThrottle,
    audit: CurrentAudit,
    current: Password,
    fresh: Password,
) -> Response:
    """Set one's own password; every session of the user ends."""
    if caller.session_token is None:
        return _account(request, templates, "An API key has no password.", HTTPStatus.FORBIDDEN)
    if caller.name.startswith(SIGN_ON_PREFIX):
        return _account(request, templates, "Your organisation keeps your password.", HTTPStatus.FORBIDDEN)
    if wait := throttle.attempt(caller.address, caller.name):
        message = f"Too many attempts. Try again in {wait} s."
        return _account(request, templates, message, HTTPStatus.TOO_MANY_REQUESTS)
    if users.identify(caller.name, current) is None:
        return _account(request, templates, "The current password is wrong.", HTTPStatus.UNAUTHORIZED)
    try:
        users.set_password(caller.name, fresh)
    except WeakPassword as error:
        words = str(error)
        return _account(request, templates, f"{words[0].upper()}{words[1:]}.", HTTPStatus.UNPROCESSABLE_ENTITY)
    audit.password_changed(caller)
    return RedirectResponse("/login", HTTPStatus.SEE_OTHER)


def begin_session(request: Request, response: Response, sessions: Sessions, user_id: int) -> None:
    """Open a session of a user, and hand its token to the browser."""
    response.set_cookie(
        cookie_name(request),
        sessions.open(user_id, now()),
        max_age=round(sessions.lifetime.total_seconds()),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


def login_form(
    request: Request, templates: Templates, target: str, message: str = "", status: HTTPStatus = HTTPStatus.OK
) -> Response:
    """The page to log in on, with what went wrong before."""
    sign_on = request.app.state.single_sign_on
    context = {"next": own_page(target), "message": message, "sign_on": sign_on.label if sign_on else None}
    return templates.TemplateResponse(request, "login.html", context, status)


def _account(request: Request, templates: Templates, message: str, status: HTTPStatus = HTTPStatus.OK) -> Response:
    context = {"message": message, "minimum_length": MINIMUM_LENGTH}
    return templates.TemplateResponse(request, "account.html", context, status)


def own_page(target: str) -> str:
    """Where to go after the login: a page of this node, never an address that browsers take to another site."""
    plain = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if plain else "/"
