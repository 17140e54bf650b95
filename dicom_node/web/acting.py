"""Actions as routes carry them out: by the caller, audited, refusals told as HTTP answers."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, HTTPException

from dicom_node.database import now
from dicom_node.web.actions import (
    Action,
    NotPossible,
    Request,
    Taken,
    UnknownDestination,
    UnknownStudy,
    act,
)
from dicom_node.web.auditing import CurrentAudit
from dicom_node.web.callers import CurrentCaller
from dicom_node.web.dependencies import CurrentConfig, CurrentDatabase
from dicom_node.web.queries.study import audited_study


class Actor:
    """Carries out actions on studies for one caller."""

    def __init__(
        self, config: CurrentConfig, database: CurrentDatabase, caller: CurrentCaller, audit: CurrentAudit
    ) -> None:
        self._config, self._database, self._caller, self._audit = config, database, caller, audit

    def __call__(self, action: Action, study_instance_uid: str, reason: str, destination: str | None = None) -> Taken:
        """Take an action.

        Raises:
            HTTPException: 404, 409 or 422, with the reason in words.
        """
        request = Request(study_instance_uid, self._caller.name, _printable(reason), now(), destination)
        try:
            taken = act(action, request, self._config, self._database)
        except UnknownStudy:
            raise HTTPException(HTTPStatus.NOT_FOUND, "The node holds no study with this UID.") from None
        except UnknownDestination as error:
            raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
        except NotPossible as error:
            raise HTTPException(HTTPStatus.CONFLICT, str(error)) from None
        with self._database.reading() as session:
            study = audited_study(session, study_instance_uid)
        note = " ".join(part for part in (action.value, destination) if part)
        self._audit.acted(self._caller, study, f"{note}: {request.reason}" if request.reason else note)
        return taken


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text).strip()


Acting = Annotated[Actor, Depends(Actor)]
