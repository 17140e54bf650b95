from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from dicom_node.access.first_start import first_administrator
from dicom_node.access.passwords import WeakPassword, random_password
from dicom_node.access.sessions import Sessions, csrf_token, is_csrf_token
from dicom_node.access.throttle import Throttle
from dicom_node.access.users import UserError, Users
from dicom_node.database import Database, now
from dicom_node.domain import Role
from dicom_node.tables import SessionRow, UserRow

PASSWORD = "correct horse battery"


def test_password_is_kept_as_an_argon2_hash_and_opens_only_its_own_user(database: Database) -> None:
    users = Users(database)
    users.add("jane", Role.OPERATOR, PASSWORD)
    users.add("joe", Role.VIEWER, "another long password")

    with database.reading() as session:
        kept = session.scalar(sa.select(UserRow.password_hash).where(UserRow.name == "jane"))
    assert kept is not None
    assert kept.startswith("$argon2id$")
    assert users.identify("jane", PASSWORD) is not None
    for name, password in (("jane", "another long password"), ("joe", PASSWORD), ("nobody", PASSWORD), ("jane", "")):
        assert users.identify(name, password) is None


@pytest.mark.parametrize("password", ["", "short", "a" * 30, "x" * 300, "administrator"])
def test_weak_password_is_refused(database: Database, password: str) -> None:
    with pytest.raises(WeakPassword):
        Users(database).add("administrator", Role.ADMIN, password)


@pytest.mark.parametrize("name", ["", " jane", "a/b", "<script>", "x" * 65])
def test_what_is_no_name_is_refused(database: Database, name: str) -> None:
    with pytest.raises(UserError, match="user name"):
        Users(database).add(name, Role.ADMIN, PASSWORD)


def test_first_administrator_is_made_once_with_a_password_that_differs_each_time(database: Database) -> None:
    password = Users(database).add_first_administrator()

    assert password is not None
    assert Users(database).identify("admin", password) is not None
    assert Users(database).add_first_administrator() is None
    assert len({random_password() for _ in range(100)}) == 100


def test_first_password_goes_to_the_screen_or_into_a_file_for_the_nodes_user_only(
    database: Database, tmp_path: Path
) -> None:
    file = tmp_path / "first-password"

    words = first_administrator(database, file, on_screen=False)

    assert words is not None
    assert str(file) in words
    password = file.read_text().strip()
    assert password not in words
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Users(database).identify("admin", password) is not None
    assert first_administrator(database, file, on_screen=True) is None


def test_last_administrator_stays(database: Database) -> None:
    users = Users(database)
    users.add("first", Role.ADMIN, PASSWORD)
    users.add("second", Role.ADMIN, PASSWORD)

    users.disable("second")

    with pytest.raises(UserError, match="only administrator"):
        users.disable("first")
    with pytest.raises(UserError, match="only administrator"):
        users.set_role("first", Role.VIEWER)


@pytest.mark.parametrize("change", ["password", "disable"])
def test_new_password_or_disabling_ends_every_session(database: Database, change: str) -> None:
    users, sessions = Users(database), Sessions(database, timedelta(hours=1))
    users.add("first", Role.ADMIN, PASSWORD)
    users.add("jane", Role.OPERATOR, PASSWORD)
    token = sessions.open(users.identify("jane", PASSWORD) or 0, now())

    if change == "password":
        users.set_password("jane", "another long password")
    else:
        users.disable("jane")

    assert sessions.find(token, now()) is None
    assert (users.identify("jane", PASSWORD)) is None


def test_session_ends_in_time_and_is_kept_as_a_digest(database: Database) -> None:
    users, sessions = Users(database), Sessions(database, timedelta(hours=1))
    users.add("jane", Role.OPERATOR, PASSWORD)
    user, at = users.identify("jane", PASSWORD) or 0, now()

    token = sessions.open(user, at)

    found = sessions.find(token, at + timedelta(minutes=59))
    assert found is not None
    assert (found.user_name, found.role) == ("jane", Role.OPERATOR)
    assert sessions.find(token, at + timedelta(minutes=60)) is None
    assert sessions.find(token[:-1], at) is None
    sessions.open(user, at + timedelta(hours=2))
    with database.reading() as session:
        [row] = session.scalars(sa.select(SessionRow)).all()
    assert row.token_digest != token


def test_form_token_belongs_to_one_session() -> None:
    assert is_csrf_token(csrf_token("one"), "one")
    assert not is_csrf_token(csrf_token("one"), "two")
    assert not is_csrf_token("", "one")
    assert not is_csrf_token("ü", "one")


def test_guessing_is_slowed_by_address_and_name_and_by_address_alone() -> None:
    throttle = Throttle()

    waits = [throttle.attempt("10.0.0.1", "admin") for _ in range(6)]

    assert waits[:5] == [0] * 5
    assert 0 < waits[5] <= 60
    assert throttle.attempt("10.0.0.2", "admin") == 0  # nobody can keep the administrator out from elsewhere
    assert any(throttle.attempt("10.0.0.3", f"user{number}") for number in range(21))
    throttle.forgive("10.0.0.1", "admin")
    assert throttle.attempt("10.0.0.1", "admin") == 0
