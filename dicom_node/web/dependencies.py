"""What routes are given: configuration, database, a reading session, the templates, checked path and query values."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, HTTPException, Path, Query, Request
from fastapi.templating import Jinja2Templates
from pydantic import AfterValidator, BeforeValidator, Field
from sqlalchemy.orm import Session

from dicom_node.access.sessions import Sessions
from dicom_node.access.throttle import Throttle
from dicom_node.access.users import Users
from dicom_node.config import Config
from dicom_node.database import Database
from dicom_node.domain import StudyState
from dicom_node.stored_files import StoredFiles
from dicom_node.web.callers import CurrentCaller
from dicom_node.web.queries.studies import Cursor, StudyFilter


def _config(request: Request) -> Config:
    config: Config = request.app.state.config
    return config


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


def _files(request: Request) -> StoredFiles:
    files: StoredFiles = request.app.state.files
    return files


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
CurrentFiles = Annotated[StoredFiles, Depends(_files)]
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
PatientSearch = Annotated[
    str,
    Query(max_length=64, description="Start of a patient's name or ID; operators only"),
    AfterValidator(_printable),
]
Day = Annotated[
    Annotated[date, Field(ge=date(1970, 1, 1), le=date(9000, 1, 1))] | None,
    Query(description="Day of the last arrival, where the node stands: YYYY-MM-DD"),
    BeforeValidator(lambda value: value or None),
]
State = Annotated[
    StudyState | None,
    Query(description="Only studies in this state"),
    BeforeValidator(lambda value: value or None),
]
Before = Annotated[
    str | None, Query(max_length=96, description="The 'next' of the page before"), AfterValidator(_cursor)
]


def _wanted(
    caller: CurrentCaller,
    q: Search = "",
    patient: PatientSearch = "",
    state: State = None,
    source: Annotated[str, Query(max_length=16, description="AE title of the sender"), AfterValidator(_printable)] = "",
    modality: Annotated[str, Query(max_length=16, description="Of one of its series"), AfterValidator(_printable)] = "",
    model: Annotated[str, Query(max_length=64, description="That read it"), AfterValidator(_printable)] = "",
    received_from: Day = None,
    received_to: Day = None,
) -> StudyFilter:
    if patient and not caller.role.sees_patients:
        raise HTTPException(HTTPStatus.FORBIDDEN, "Patients are shown to operators, and so is the search for them.")
    return StudyFilter(
        search=q,
        patient=patient,
        state=state,
        source=source,
        modality=modality.upper(),
        model=model,
        received_from=_midnight(received_from),
        received_before=_midnight(received_to + timedelta(days=1)) if received_to else None,
    )


def _midnight(day: date | None) -> datetime | None:
    """The beginning of a day where the node stands."""
    return datetime.combine(day, time.min).astimezone() if day else None


Wanted = Annotated[StudyFilter, Depends(_wanted)]
RowId = Annotated[int, Field(ge=0, lt=1 << 63)]
"""Within what a database takes for an integer."""

Limit = Annotated[int, Query(ge=1, le=200, description="How many to give at most")]
