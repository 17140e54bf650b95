"""Users and API keys as administrators change them: each change audited, each refusal a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, HTTPException, Request

from dicom_node.access.api_keys import ApiKey, ApiKeyError, ApiKeys
from dicom_node.access.passwords import WeakPassword, random_password
from dicom_node.access.users import User, UserError
from dicom_node.domain import Role
from dicom_node.web.auditing import CurrentAudit
from dicom_node.web.callers import CurrentCaller
from dicom_node.web.dependencies import CurrentUsers


class Administration:
    """Changes users and API keys on behalf of one administrator."""

    def __init__(self, request: Request, users: CurrentUsers, caller: CurrentCaller, audit: CurrentAudit) -> None:
        self._users, self._caller, self._audit = users, caller, audit
        self._keys: ApiKeys = request.app.state.api_keys

    def users(self) -> list[User]:
        """Every user by name."""
        return self._users.all()

    def keys(self) -> list[ApiKey]:
        """Every key, oldest first, without its secret."""
        return self._keys.all()

    def add_user(self, name: str, role: Role) -> str:
        """Make a user; returns the password, which is shown once."""
        password = random_password()
        with self._changing(f"user {name} made, {role.value}"):
            self._users.add(name, role, password)
        return password

    def new_password(self, name: str) -> str:
        """Give a user another password; returns it. The user's sessions end."""
        password = random_password()
        with self._changing(f"password of {name} changed"):
            self._users.set_password(name, password)
        return password

    def set_role(self, name: str, role: Role) -> None:
        """Give a user another role."""
        with self._changing(f"role of {name} changed to {role.value}"):
            self._users.set_role(name, role)

    def set_enabled(self, name: str, *, enabled: bool) -> None:
        """Let a user in, or keep one out."""
        with self._changing(f"user {name} {'enabled' if enabled else 'disabled'}"):
            (self._users.enable if enabled else self._users.disable)(name)

    def add_key(self, name: str, role: Role, *, signs: bool, days: int | None) -> tuple[str, str]:
        """Make an API key; returns its identifier and its secret, which is shown once."""
        with self._changing(f"API key of {name} made, {role.value}"):
            return self._keys.add(name, role, signs=signs, lifetime=timedelta(days=days) if days else None)

    def revoke_key(self, key_id: str) -> None:
        """Refuse a key from now on."""
        with self._changing(f"API key {key_id} revoked"):
            self._keys.revoke(key_id)

    @contextmanager
    def _changing(self, note: str) -> Iterator[None]:
        try:
            yield
        except (UserError, WeakPassword, ApiKeyError) as error:
            words = str(error)
            raise HTTPException(HTTPStatus.CONFLICT, f"{words[0].upper()}{words[1:]}.") from None
        self._audit.access_changed(self._caller, note)


CurrentAdministration = Annotated[Administration, Depends(Administration)]
