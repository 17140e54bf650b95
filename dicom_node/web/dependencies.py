"""What routes are given: configuration, database, a reading session, the templates, checked path and query values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Path, Query, Request
from fastapi.templating import Jinja2Templates
from pydantic import AfterValidator, BeforeValidator
from sqlalchemy.orm import Session

from dicom_node.access.sessions import Sessions
from dicom_node.access.throttle import Throttle
from dicom_node.access.users import Users
from dicom_node.config import Config
from dicom_node.database import Database
from dicom_node.domain import StudyState
from dicom_node.web.queries.studies import Cursor


def _config(request: Request) -> Config:
    config: Config = request.app.state.config
    return config


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


def _templates(request: Request) -> Jinja2Templates:
    templates: Jinja2Templates = request.app.state.templates
    return templates


def _sessions(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.sessions
    return sessions


def _throttle(request: Request) -> Throttle:
    throttle: Throttle = request.app.state.throttle
    return throttle


def _users(database: CurrentDatabase) -> Users:
    return Users(database)


CurrentConfig = Annotated[Config, Depends(_config)]
CurrentDatabase = Annotated[Database, Depends(_database)]
CurrentSessions = Annotated[Sessions, Depends(_sessions)]
CurrentThrottle = Annotated[Throttle, Depends(_throttle)]
CurrentUsers = Annotated[Users, Depends(_users)]
Templates = Annotated[Jinja2Templates, Depends(_templates)]


def _reading(database: CurrentDatabase) -> Iterator[Session]:
    with database.reading() as session:
        yield session


ReadingSession = Annotated[Session, Depends(_reading)]


def _printable(value: str) -> str:
    return "".join(character for character in value if character.isprintable()).strip()


def _cursor(value: str | None) -> str | None:
    if value:
        Cursor.parse(value)
    return value or None


InstanceUid = Annotated[str, Path(pattern=r"^[0-9.]{1,64}$", description="A DICOM UID (PS3.5 9.1)")]
Search = Annotated[
    str,
    Query(alias="q", max_length=64, description="Start of an accession number or of a Study Instance UID"),
    AfterValidator(_printable),
]
State = Annotated[
    StudyState | None,
    Query(description="Only studies in this state"),
    BeforeValidator(lambda value: value or None),
]
Before = Annotated[
    str | None, Query(max_length=96, description="The 'next' of the page before"), AfterValidator(_cursor)
]
Limit = Annotated[int, Query(ge=1, le=200, description="How many to give at most")]
