from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from dicom_node.access.api_keys import ApiKeyError, ApiKeys
from dicom_node.access.secret import SecretError, node_secret
from dicom_node.database import Database, now
from dicom_node.domain import Role
from dicom_node.tables import Base


@pytest.fixture
def keys(database: Database, tmp_path: Path) -> ApiKeys:
    return ApiKeys(database, tmp_path / "secret.key")


def test_bearer_key_identifies_its_caller_until_it_is_revoked(keys: ApiKeys) -> None:
    key_id, bearer = keys.add("orthanc", Role.OPERATOR)

    found = keys.identify(bearer, now())
    assert found is not None
    assert (found.key_id, found.name, found.role) == (key_id, "orthanc", Role.OPERATOR)
    assert keys.identify(bearer[:-1], now()) is None
    assert keys.identify("", now()) is None
    keys.revoke(key_id)
    assert keys.identify(bearer, now()) is None


def test_key_ends_in_time(keys: ApiKeys) -> None:
    _, bearer = keys.add("script", Role.VIEWER, lifetime=timedelta(days=1))

    assert keys.identify(bearer, now() + timedelta(hours=23)) is not None
    assert keys.identify(bearer, now() + timedelta(hours=25)) is None


def test_database_holds_no_secret_of_either_kind(keys: ApiKeys, database: Database) -> None:
    _, bearer = keys.add("bearer", Role.ADMIN)
    _, signing = keys.add("signer", Role.ADMIN, signs=True)

    with database.reading() as session:
        held = str([session.execute(sa.select(table)).all() for table in Base.metadata.sorted_tables])
    assert "bearer" in held
    assert bearer.rpartition("_")[2] not in held
    assert signing not in held


def test_signing_key_is_no_bearer_key(keys: ApiKeys) -> None:
    key_id, secret = keys.add("signer", Role.ADMIN, signs=True)

    assert keys.identify(f"dnk_{key_id}_{secret}", now()) is None
    assert keys.signing(key_id, now()) is not None
    keys.revoke(key_id)
    assert keys.signing(key_id, now()) is None


def test_nonce_is_taken_once_for_each_key_and_forgotten_in_time(keys: ApiKeys) -> None:
    (one, _), (other, _) = keys.add("one", Role.VIEWER, signs=True), keys.add("other", Role.VIEWER, signs=True)
    at = now()

    assert keys.use_nonce(one, "n", at, at + timedelta(minutes=5))
    assert not keys.use_nonce(one, "n", at, at + timedelta(minutes=5))
    assert keys.use_nonce(other, "n", at, at + timedelta(minutes=5))
    assert keys.use_nonce(one, "n", at + timedelta(minutes=6), at + timedelta(minutes=11))


def test_key_that_is_not_there_cannot_be_revoked(keys: ApiKeys) -> None:
    with pytest.raises(ApiKeyError, match="no key"):
        keys.revoke("abc")


def test_secret_of_the_node_is_made_once_for_its_user_only(tmp_path: Path) -> None:
    path = tmp_path / "data" / "secret.key"

    secret = node_secret(path)

    assert node_secret(path) == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["secret.key"]
    path.write_bytes(b"short")
    with pytest.raises(SecretError):
        node_secret(path)
