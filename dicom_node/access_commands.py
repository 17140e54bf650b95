"""``dicom-node user`` and ``dicom-node apikey``: who may use the web side of the node."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
import typer
from rich.table import Table

from dicom_node.access.api_keys import ApiKeyError, ApiKeys
from dicom_node.access.passwords import WeakPassword, random_password
from dicom_node.access.users import UserError, Users
from dicom_node.audit import message
from dicom_node.audit.message import Action, AuditEvent, Participant
from dicom_node.audit.trail import AuditTrail
from dicom_node.config import Config
from dicom_node.console import ConfigOption, console, fail, read_config
from dicom_node.database import Database, now
from dicom_node.domain import Role

users = typer.Typer(no_args_is_help=True, help="The users of the web pages.")
keys = typer.Typer(no_args_is_help=True, help="The API keys of machine callers.")

RoleOption = Annotated[Role, typer.Option("--role", help="What it may do; 'viewer' sees no patient.")]
StdinOption = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input; else one is made and printed.")
]


@users.command("add")
def add_user(
    name: str, role: RoleOption = Role.VIEWER, password_stdin: StdinOption = False, config: ConfigOption = None
) -> None:
    """Make a user."""
    password = _password(password_stdin)
    with _database(config) as (settings, database):
        Users(database).add(name, role, password)
        _audit(settings, f"user {name} made, {role.value}")
    _show_password(f"{name} may log in as {role.value}", password, password_stdin)


@users.command("password")
def set_password(name: str, password_stdin: StdinOption = False, config: ConfigOption = None) -> None:
    """Give a user another password, for one that was forgotten; the user's sessions end."""
    password = _password(password_stdin)
    with _database(config) as (settings, database):
        Users(database).set_password(name, password)
        _audit(settings, f"password of {name} changed")
    _show_password(f"{name} has another password", password, password_stdin)


@users.command("role")
def set_role(name: str, role: Annotated[Role, typer.Argument()], config: ConfigOption = None) -> None:
    """Give a user another role."""
    with _database(config) as (settings, database):
        Users(database).set_role(name, role)
        _audit(settings, f"role of {name} changed to {role.value}")
    console.print(f"{name} is {role.value} now", highlight=False, markup=False)


@users.command("disable")
def disable_user(name: str, config: ConfigOption = None) -> None:
    """Keep a user out; the user's sessions end."""
    with _database(config) as (settings, database):
        Users(database).disable(name)
        _audit(settings, f"user {name} disabled")
    console.print(f"{name} can no longer log in", highlight=False, markup=False)


@users.command("enable")
def enable_user(name: str, config: ConfigOption = None) -> None:
    """Let a disabled user in again."""
    with _database(config) as (settings, database):
        Users(database).enable(name)
        _audit(settings, f"user {name} enabled")
    console.print(f"{name} can log in again", highlight=False, markup=False)


@users.command("list")
def list_users(config: ConfigOption = None) -> None:
    """Show every user."""
    table = Table("Name", "Role", "Since", "State")
    with _database(config) as (_, database):
        for user in Users(database).all():
            state = f"disabled {user.disabled_at:%Y-%m-%d}" if user.disabled_at else "may log in"
            table.add_row(user.name, user.role.value, f"{user.created_at:%Y-%m-%d}", state)
    console.print(table)


@keys.command("add")
def add_key(
    name: Annotated[str, typer.Argument(help="Who uses it, such as 'orthanc'.")],
    role: RoleOption = Role.VIEWER,
    signed: Annotated[
        bool, typer.Option("--signed", help="For requests signed as in RFC 9421 (hmac-sha256): it never travels.")
    ] = False,
    days: Annotated[int | None, typer.Option(min=1, help="How long it holds; else until it is revoked.")] = None,
    config: ConfigOption = None,
) -> None:
    """Make an API key; it is shown once."""
    with _database(config) as (settings, database):
        lifetime = timedelta(days=days) if days else None
        api_keys = ApiKeys(database, settings.secret_path)
        key_id, secret = api_keys.add(name, role, signs=signed, lifetime=lifetime)
        _audit(settings, f"API key {key_id} of {name} made, {role.value}")
    console.print(f"key {key_id} of {name} ({role.value}); it is not shown again:", highlight=False, markup=False)
    console.print(secret, highlight=False, markup=False, soft_wrap=True)


@keys.command("revoke")
def revoke_key(key_id: str, config: ConfigOption = None) -> None:
    """Refuse a key from now on."""
    with _database(config) as (settings, database):
        ApiKeys(database, settings.secret_path).revoke(key_id)
        _audit(settings, f"API key {key_id} revoked")
    console.print(f"key {key_id} is refused from now on", highlight=False, markup=False)


@keys.command("list")
def list_keys(config: ConfigOption = None) -> None:
    """Show every key, without its secret."""
    table = Table("Key", "Name", "Role", "Kind", "State")
    with _database(config) as (settings, database):
        for key in ApiKeys(database, settings.secret_path).all():
            state = "in use" if key.expires_at is None else f"until {key.expires_at:%Y-%m-%d}"
            if key.expires_at is not None and key.expires_at <= now():
                state = f"ended {key.expires_at:%Y-%m-%d}"
            if key.revoked_at is not None:
                state = f"revoked {key.revoked_at:%Y-%m-%d}"
            table.add_row(key.key_id, key.name, key.role.value, "signs requests" if key.signs else "bearer", state)
    console.print(table)


@contextmanager
def _database(path: Path | None) -> Iterator[tuple[Config, Database]]:
    """The configuration and its database; what goes wrong ends the command in a sentence."""
    settings = read_config(path)
    try:
        database = Database(settings.database_url)
        database.create_tables()
    except (sa.exc.SQLAlchemyError, OSError, ModuleNotFoundError) as error:
        raise fail(f"the database does not work ({error}): 'dicom-node check' names the cause") from error
    try:
        yield settings, database
    except (UserError, WeakPassword, ApiKeyError, OSError) as error:
        raise fail(str(error)) from error
    finally:
        database.close()


def _audit(settings: Config, note: str) -> None:
    trail = AuditTrail.configured(settings)
    somebody = Participant(getpass.getuser(), is_requestor=True)
    kind = message.USER_SECURITY_ATTRIBUTES_CHANGED
    trail.record(AuditEvent(message.SECURITY_ALERT, Action.EXECUTE, now(), (somebody,), kind, note=note))


def _password(from_stdin: bool) -> str:
    return sys.stdin.readline().rstrip("\n") if from_stdin else random_password()


def _show_password(what: str, password: str, was_given: bool) -> None:
    console.print(
        what + ("" if was_given else f"; the password, not shown again: {password}"),
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
