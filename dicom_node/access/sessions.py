"""Sessions of users who logged in: a random token in the browser's cookie, its digest in the database."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from dicom_node.database import Database
from dicom_node.domain import Role
from dicom_node.tables import SessionRow, UserRow


@dataclass(frozen=True, slots=True)
class OpenSession:
    """Whose session a token is."""

    user_name: str
    role: Role


class Sessions:
    """Owns the sessions' rows. A session ends after ``lifetime``, however much it is used."""

    def __init__(self, database: Database, lifetime: timedelta) -> None:
        self._database = database
        self.lifetime = lifetime

    def open(self, user_id: int, at: datetime) -> str:
        """Begin a session; returns its token. Sessions that have ended are forgotten on the way."""
        token = secrets.token_urlsafe(32)
        with self._database.session.begin() as session:
            session.execute(sa.delete(SessionRow).where(SessionRow.expires_at <= at))
            session.add(SessionRow(token_digest=_digest(token), user_id=user_id, expires_at=at + self.lifetime))
        return token

    def find(self, token: str, at: datetime) -> OpenSession | None:
        """Whose session this is; None where it has ended, or its user may no longer come in."""
        query = (
            sa.select(UserRow.name, UserRow.role)
            .join(SessionRow)
            .where(SessionRow.token_digest == _digest(token), SessionRow.expires_at > at, UserRow.disabled_at.is_(None))
        )
        with self._database.reading() as session:
            found = session.execute(query).one_or_none()
        return OpenSession(found.name, found.role) if found else None

    def close(self, token: str) -> None:
        """End a session."""
        with self._database.session.begin() as session:
            session.execute(sa.delete(SessionRow).where(SessionRow.token_digest == _digest(token)))


def csrf_token(token: str) -> str:
    """What a form of this session must carry: derived from the session's token, which other sites cannot read."""
    return hmac.new(token.encode(), b"csrf", hashlib.sha256).hexdigest()


def is_csrf_token(given: str, token: str) -> bool:
    """Whether a form carries the token of its session."""
    return hmac.compare_digest(given.encode(), csrf_token(token).encode())


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
