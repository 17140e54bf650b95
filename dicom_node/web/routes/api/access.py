"""Users and API keys in the API, for administrators. Passwords and secrets are given out once, when they are made."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from dicom_node.access.api_keys import ApiKey
from dicom_node.access.users import User
from dicom_node.domain import Role
from dicom_node.web.administration import CurrentAdministration
from dicom_node.web.callers import ADMINISTRATORS
from dicom_node.web.problems import PROBLEM_RESPONSES

router = APIRouter(tags=["users and keys"], responses=PROBLEM_RESPONSES, dependencies=[ADMINISTRATORS])

Name = Annotated[str, Path(max_length=64)]
_Named = Annotated[str, Field(min_length=1, max_length=64)]


class NewUser(BaseModel):
    """A user to be made."""

    model_config = ConfigDict(extra="forbid")

    name: _Named
    role: Role


class UserChange(BaseModel):
    """What is to change of a user; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    role: Role | None = None
    enabled: bool | None = None


class Password(BaseModel):
    """A user's password, made at random; it is not shown again."""

    name: str
    password: str


class NewKey(BaseModel):
    """An API key to be made: for ``days``, or until it is revoked; ``signs`` for requests signed as in RFC 9421."""

    model_config = ConfigDict(extra="forbid")

    name: _Named
    role: Role
    signs: bool = False
    days: Annotated[int | None, Field(ge=1, le=36500)] = None


class Secret(BaseModel):
    """An API key's secret; it is not shown again."""

    key_id: str
    secret: str


@router.get("/users")
def read_users(administration: CurrentAdministration) -> list[User]:
    """Every user by name."""
    return administration.users()


@router.post("/users", status_code=HTTPStatus.CREATED)
def add_user(administration: CurrentAdministration, body: NewUser) -> Password:
    """Make a user. 409 when the name is taken."""
    return Password(name=body.name, password=administration.add_user(body.name, body.role))


@router.patch("/users/{name}", status_code=HTTPStatus.NO_CONTENT)
def change_user(administration: CurrentAdministration, name: Name, body: UserChange) -> None:
    """Change a user's role, or whether the user may log in. 409 when no administrator would be left."""
    if body.role is not None:
        administration.set_role(name, body.role)
    if body.enabled is not None:
        administration.set_enabled(name, enabled=body.enabled)


@router.post("/users/{name}/password")
def new_password(administration: CurrentAdministration, name: Name) -> Password:
    """Give a user another password; the user's sessions end."""
    return Password(name=name, password=administration.new_password(name))


@router.get("/keys")
def read_keys(administration: CurrentAdministration) -> list[ApiKey]:
    """Every API key, oldest first, without its secret."""
    return administration.keys()


@router.post("/keys", status_code=HTTPStatus.CREATED)
def add_key(administration: CurrentAdministration, body: NewKey) -> Secret:
    """Make an API key."""
    key_id, secret = administration.add_key(body.name, body.role, signs=body.signs, days=body.days)
    return Secret(key_id=key_id, secret=secret)


@router.delete("/keys/{key_id}", status_code=HTTPStatus.NO_CONTENT)
def revoke_key(administration: CurrentAdministration, key_id: Annotated[str, Path(max_length=16)]) -> None:
    """Refuse an API key from now on."""
    administration.revoke_key(key_id)
