"""The users of the web pages: made, given passwords and roles, disabled; never without a password."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dicom_node.access.passwords import hash_password, is_password, random_password
from dicom_node.database import Database, now
from dicom_node.domain import Role
from dicom_node.tables import SessionRow, UserRow

FIRST_ADMINISTRATOR = "admin"
SIGN_ON_PREFIX = "oidc:"
"""Of users whom an identity provider vouches for. No local user has such a name, so that neither takes the other's."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")


class UserError(Exception):
    """A user cannot be made or changed; the text says why."""


@dataclass(frozen=True, slots=True)
class User:
    """A user as lists show it."""

    name: str
    role: Role
    created_at: datetime
    disabled_at: datetime | None


class Users:
    """Owns the users' rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, name: str, role: Role, password: str) -> None:
        """Make a user.

        Raises:
            UserError: the name is taken, or no name.
            WeakPassword: the password is not good enough.
        """
        if not _NAME.fullmatch(name):
            raise UserError(f"{name!r} is no user name: 1 to 64 letters, digits, '.', '_', '-' and '@'")
        row = UserRow(name=name, role=role, password_hash=hash_password(password, name), created_at=now())
        try:
            with self._database.session.begin() as session:
                session.add(row)
        except sa.exc.IntegrityError:
            raise UserError(f"there is a user {name} already") from None

    def add_first_administrator(self) -> str | None:
        """Make the first administrator where there is no user at all; returns the password, which is kept nowhere."""
        with self._database.reading() as session:
            if session.scalar(sa.select(UserRow.id).limit(1)) is not None:
                return None
        password = random_password()
        try:
            self.add(FIRST_ADMINISTRATOR, Role.ADMIN, password)
        except UserError:  # another process of the node was first
            return None
        return password

    def sign_on(self, name: str, role: Role) -> int | None:
        """The row of a user whom the identity provider vouches for, with the role it gives; None of one disabled."""
        with self._database.session.begin() as session:
            row = session.scalar(sa.select(UserRow).where(UserRow.name == name).with_for_update())
            if row is None:
                row = UserRow(name=name, role=role, password_hash="", created_at=now())
                session.add(row)
                session.flush()
            row.role = role
            return row.id if row.disabled_at is None else None

    def set_password(self, name: str, password: str) -> None:
        """Give a user another password and end the sessions begun with the old one.

        Raises:
            UserError: there is no such user.
            WeakPassword: the password is not good enough.
        """
        if name.startswith(SIGN_ON_PREFIX):
            raise UserError(f"{name} logs in with the identity provider, which keeps the password")
        password_hash = hash_password(password, name)
        with self._database.session.begin() as session:
            row = _row(session, name)
            row.password_hash = password_hash
            _end_sessions(session, row)

    def set_role(self, name: str, role: Role) -> None:
        """Give a user another role; it holds from the next request on.

        Raises:
            UserError: there is no such user, or no other administrator would be left.
        """
        with self._database.session.begin() as session:
            row = _row(session, name)
            if role is not Role.ADMIN:
                _keep_an_administrator(session, row)
            row.role = role

    def disable(self, name: str) -> None:
        """Keep a user out from now on.

        Raises:
            UserError: there is no such user, or no other administrator would be left.
        """
        with self._database.session.begin() as session:
            row = _row(session, name)
            _keep_an_administrator(session, row)
            row.disabled_at = row.disabled_at or now()
            _end_sessions(session, row)

    def enable(self, name: str) -> None:
        """Let a disabled user in again, with the password of before.

        Raises:
            UserError: there is no such user.
        """
        with self._database.session.begin() as session:
            _row(session, name).disabled_at = None

    def all(self) -> list[User]:
        """Every user by name."""
        with self._database.reading() as session:
            rows = session.scalars(sa.select(UserRow).order_by(UserRow.name))
            return [User(row.name, row.role, row.created_at, row.disabled_at) for row in rows]

    def identify(self, name: str, password: str) -> int | None:
        """The row of the user with this name and password who may come in, else None."""
        with self._database.reading() as session:
            row = session.scalar(sa.select(UserRow).where(UserRow.name == name, UserRow.disabled_at.is_(None)))
        matches = is_password(password, row.password_hash if row else None)
        return row.id if row is not None and matches else None


def _row(session: Session, name: str) -> UserRow:
    row = session.scalar(sa.select(UserRow).where(UserRow.name == name))
    if row is None:
        raise UserError(f"there is no user {name}")
    return row


def _keep_an_administrator(session: Session, row: UserRow) -> None:
    others = sa.select(UserRow.id).where(
        UserRow.role == Role.ADMIN,
        UserRow.disabled_at.is_(None),
        UserRow.id != row.id,
        ~UserRow.name.startswith(SIGN_ON_PREFIX),  # who can come in when the identity provider is away
    )
    if row.role is Role.ADMIN and session.scalar(others.limit(1)) is None:
        raise UserError(f"{row.name} is the only administrator: make another first")


def _end_sessions(session: Session, row: UserRow) -> None:
    session.execute(sa.delete(SessionRow).where(SessionRow.user_id == row.id))
