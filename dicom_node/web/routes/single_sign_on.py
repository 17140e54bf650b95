"""Logging in with the organisation's identity provider; there only where it is configured."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from dicom_node.access.single_sign_on import ProviderUnreachable, SignOnRefused, SingleSignOn
from dicom_node.database import now
from dicom_node.web.auditing import CurrentAudit
from dicom_node.web.callers import SIGN_ON_PATH, SIGN_ON_RETURN_PATH
from dicom_node.web.dependencies import CurrentSessions, CurrentThrottle, CurrentUsers, Templates
from dicom_node.web.routes.login import begin_session, login_form, own_page

log = logging.getLogger(__name__)

router = APIRouter()


def _single_sign_on(request: Request) -> SingleSignOn:
    found: SingleSignOn = request.app.state.single_sign_on
    return found


CurrentSingleSignOn = Annotated[SingleSignOn, Depends(_single_sign_on)]


@router.get(SIGN_ON_PATH)
def go_to_provider(
    request: Request,
    sign_on: CurrentSingleSignOn,
    templates: Templates,
    throttle: CurrentThrottle,
    next: str = "/",  # noqa: A002 - the query's name
) -> Response:
    """Send the browser to the identity provider."""
    if wait := throttle.attempt(_address(request), SIGN_ON_PATH):
        return _refuse(request, templates, f"Too many attempts. Try again in {wait} s.", HTTPStatus.TOO_MANY_REQUESTS)
    try:
        address, brought = sign_on.begin(_return_address(request), own_page(next), now())
    except ProviderUnreachable as error:
        return _unreachable(request, templates, error)
    response = RedirectResponse(address, HTTPStatus.SEE_OTHER)
    # Lax, not strict: the provider's page is another site, and it is what leads back here.
    response.set_cookie(
        _cookie_name(request),
        brought,
        max_age=600,
        path=SIGN_ON_PATH,
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return response


@router.get(SIGN_ON_RETURN_PATH)
def come_back(
    request: Request,
    sign_on: CurrentSingleSignOn,
    templates: Templates,
    users: CurrentUsers,
    sessions: CurrentSessions,
    throttle: CurrentThrottle,
    audit: CurrentAudit,
    state: str = "",
    code: str = "",
    error: str = "",
) -> Response:
    """Begin a session of whom the identity provider vouches for."""
    address = _address(request)
    if error or not code:
        return _refuse(request, templates, "The login of your organisation let nobody in.", HTTPStatus.UNAUTHORIZED)
    try:
        brought = request.cookies.get(_cookie_name(request), "")
        somebody, target = sign_on.finish(brought, state, code, _return_address(request), now())
    except ProviderUnreachable as unreachable:
        return _unreachable(request, templates, unreachable)
    except SignOnRefused as refused:
        audit.login("unknown", address, accepted=False)
        return _refuse(request, templates, str(refused), HTTPStatus.FORBIDDEN)
    user_id = users.sign_on(somebody.name, somebody.role)
    audit.login(somebody.name, address, accepted=user_id is not None)
    if user_id is None:
        return _refuse(request, templates, f"{somebody.name} is disabled on this node.", HTTPStatus.FORBIDDEN)
    throttle.forgive(address, SIGN_ON_PATH)
    # A page of its own that leads on: browsers send the session's strict cookie to no page that another site leads to.
    response = templates.TemplateResponse(request, "signed_on.html", {"next": own_page(target)})
    begin_session(request, response, sessions, user_id)
    response.delete_cookie(_cookie_name(request), path=SIGN_ON_PATH)
    return response


def _unreachable(request: Request, templates: Templates, error: ProviderUnreachable) -> Response:
    log.error("%s", error)
    message = f"No login with your organisation: {error}. A local user can log in here."
    return _refuse(request, templates, message, HTTPStatus.BAD_GATEWAY)


def _refuse(request: Request, templates: Templates, message: str, status: HTTPStatus) -> Response:
    return login_form(request, templates, "/", message, status)


def _return_address(request: Request) -> str:
    return str(request.url_for("come_back"))


def _cookie_name(request: Request) -> str:
    return f"dicom-node-sign-on-{request.url.port or 0}"


def _address(request: Request) -> str:
    return request.client.host if request.client else ""
