"""API keys for machine callers: shown once, kept as digests, revocable, with a role and an end."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dicom_node.access.secret import derived_secret, node_secret
from dicom_node.database import Database, now
from dicom_node.domain import Role
from dicom_node.tables import ApiKeyRow, NonceRow

PREFIX = "dnk"
_SIGNING = "request signing"


class ApiKeyError(Exception):
    """A key cannot be made or changed; the text says why."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as lists show it."""

    key_id: str
    name: str
    role: Role
    signs: bool
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class ApiKeys:
    """Owns the keys' rows.

    A bearer key is sent with each request; the database holds its digest. The secret of a signing key never
    travels; it is derived from the node's own secret, the file ``secret_path``, and is in no database. A key is one
    or the other, so that a stolen database opens nothing.
    """

    def __init__(self, database: Database, secret_path: Path) -> None:
        self._database = database
        self._secret_path = secret_path

    def add(self, name: str, role: Role, *, signs: bool = False, lifetime: timedelta | None = None) -> tuple[str, str]:
        """Make a key; returns its identifier and what the caller is given, which cannot be shown again.

        Raises:
            ApiKeyError: there is no name.
        """
        if not name.strip() or len(name) > 64:
            raise ApiKeyError("a key has a name of 1 to 64 characters that says who uses it")
        key_id, secret, at = secrets.token_hex(6), secrets.token_urlsafe(32), now()
        row = ApiKeyRow(
            key_id=key_id,
            name=name.strip(),
            role=role,
            secret_digest=None if signs else _digest(secret),
            created_at=at,
            expires_at=at + lifetime if lifetime else None,
        )
        with self._database.session.begin() as session:
            session.add(row)
        if signs:
            return key_id, base64.urlsafe_b64encode(self._signing_secret(key_id)).decode()
        return key_id, f"{PREFIX}_{key_id}_{secret}"

    def revoke(self, key_id: str) -> None:
        """Refuse a key from now on.

        Raises:
            ApiKeyError: there is no such key.
        """
        with self._database.session.begin() as session:
            row = session.get(ApiKeyRow, key_id)
            if row is None:
                raise ApiKeyError(f"there is no key {key_id}: 'dicom-node apikey list' shows them")
            row.revoked_at = row.revoked_at or now()

    def all(self) -> list[ApiKey]:
        """Every key, oldest first."""
        with self._database.reading() as session:
            return [_key(row) for row in session.scalars(sa.select(ApiKeyRow).order_by(ApiKeyRow.created_at))]

    def identify(self, bearer: str, at: datetime) -> ApiKey | None:
        """The key that was sent, None where it is not one that may come in."""
        prefix, _, rest = bearer.partition("_")
        key_id, _, secret = rest.partition("_")
        with self._database.reading() as session:
            row = _valid(session, key_id, at) if prefix == PREFIX else None
        if row is None or row.secret_digest is None:
            return None
        return _key(row) if hmac.compare_digest(row.secret_digest, _digest(secret)) else None

    def signing(self, key_id: str, at: datetime) -> tuple[ApiKey, bytes] | None:
        """A signing key and its secret, None where it is not one that may come in."""
        with self._database.reading() as session:
            row = _valid(session, key_id, at)
        if row is None or row.secret_digest is not None:
            return None
        return _key(row), self._signing_secret(key_id)

    def use_nonce(self, key_id: str, nonce: str, at: datetime, until: datetime) -> bool:
        """Take a nonce for as long as its request could be repeated; false where it was taken before."""
        try:
            with self._database.session.begin() as session:
                session.execute(sa.delete(NonceRow).where(NonceRow.expires_at <= at))
                session.add(NonceRow(key_id=key_id, nonce=nonce, expires_at=until))
        except sa.exc.IntegrityError:
            return False
        return True

    def _signing_secret(self, key_id: str) -> bytes:
        return derived_secret(node_secret(self._secret_path), _SIGNING, key_id)


def _valid(session: Session, key_id: str, at: datetime) -> ApiKeyRow | None:
    row = session.get(ApiKeyRow, key_id)
    if row is None or row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= at):
        return None
    return row


def _key(row: ApiKeyRow) -> ApiKey:
    return ApiKey(
        row.key_id, row.name, row.role, row.secret_digest is None, row.created_at, row.expires_at, row.revoked_at
    )


def _digest(secret: str) -> str:
    # The secret is 256 random bits: a slow hash, which is for what people choose, would add nothing.
    return hashlib.sha256(secret.encode()).hexdigest()
