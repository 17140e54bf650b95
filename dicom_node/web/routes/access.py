"""The page of users and API keys, for administrators."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from dicom_node.domain import Role
from dicom_node.web.administration import CurrentAdministration
from dicom_node.web.callers import ADMINISTRATORS
from dicom_node.web.dependencies import Templates

router = APIRouter(prefix="/access", dependencies=[ADMINISTRATORS])

Name = Annotated[str, Form(min_length=1, max_length=64)]


@router.get("")
def access_page(request: Request, administration: CurrentAdministration, templates: Templates) -> Response:
    """Who may use the web side."""
    return _page(request, administration, templates)


@router.post("/users")
def add_user(
    request: Request,
    administration: CurrentAdministration,
    templates: Templates,
    name: Name,
    role: Annotated[Role, Form()],
) -> Response:
    """Make a user, and show the password once."""
    password = administration.add_user(name, role)
    return _page(
        request, administration, templates, (f"{name} may log in as {role.value} with this password", password)
    )


@router.post("/users/password")
def new_password(request: Request, administration: CurrentAdministration, templates: Templates, name: Name) -> Response:
    """Give a user another password, and show it once."""
    password = administration.new_password(name)
    return _page(request, administration, templates, (f"{name} has this password from now on", password))


@router.post("/users/role")
def set_role(administration: CurrentAdministration, name: Name, role: Annotated[Role, Form()]) -> Response:
    """Give a user another role."""
    administration.set_role(name, role)
    return _back()


@router.post("/users/enabled")
def set_enabled(administration: CurrentAdministration, name: Name, enabled: Annotated[bool, Form()]) -> Response:
    """Let a user in, or keep one out."""
    administration.set_enabled(name, enabled=enabled)
    return _back()


@router.post("/keys")
def add_key(
    request: Request,
    administration: CurrentAdministration,
    templates: Templates,
    name: Name,
    role: Annotated[Role, Form()],
    signs: Annotated[bool, Form()] = False,
    days: Annotated[str, Form(pattern=r"^\d{0,5}$")] = "",
) -> Response:
    """Make an API key, and show its secret once."""
    key_id, secret = administration.add_key(name, role, signs=signs, days=int(days) if days else None)
    return _page(request, administration, templates, (f"Key {key_id} of {name}, {role.value}", secret))


@router.post("/keys/revoke")
def revoke_key(administration: CurrentAdministration, key_id: Annotated[str, Form(max_length=16)]) -> Response:
    """Refuse a key from now on."""
    administration.revoke_key(key_id)
    return _back()


def _page(
    request: Request,
    administration: CurrentAdministration,
    templates: Templates,
    secret: tuple[str, str] | None = None,
) -> Response:
    context = {"users": administration.users(), "keys": administration.keys(), "roles": tuple(Role), "secret": secret}
    return templates.TemplateResponse(request, "access.html", context)


def _back() -> Response:
    return RedirectResponse("/access", HTTPStatus.SEE_OTHER)
