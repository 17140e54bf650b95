"""Verdicts in the API: what a reader says of a finding."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from dicom_node.database import Database
from dicom_node.lifecycle.feedback import UnknownFinding, give_verdict
from dicom_node.web.auditing import Audit, CurrentAudit
from dicom_node.web.callers import Caller, CurrentCaller
from dicom_node.web.dependencies import CurrentDatabase, InstanceUid, RowId
from dicom_node.web.problems import PROBLEM_RESPONSES
from dicom_node.web.queries.study import Verdict, audited_study

router = APIRouter(prefix="/studies", tags=["verdicts"], responses=PROBLEM_RESPONSES)

MOST_NOTE = 500


class GivenVerdict(BaseModel):
    """Whether the finding is right, and what else there is to say."""

    right: bool
    note: Annotated[str, Field(max_length=MOST_NOTE)] = ""


@router.put("/{study_instance_uid}/findings/{finding_id}/verdict")
def put_verdict(
    database: CurrentDatabase,
    caller: CurrentCaller,
    audit: CurrentAudit,
    study_instance_uid: InstanceUid,
    finding_id: RowId,
    given: GivenVerdict,
) -> Verdict:
    """Say whether a finding is right, in place of what the same caller said before; 404 where there is none such."""
    return judge(database, caller, audit, study_instance_uid, finding_id, given)


def judge(
    database: Database, caller: Caller, audit: Audit, study_instance_uid: str, finding_id: int, given: GivenVerdict
) -> Verdict:
    """Write down a caller's verdict.

    Raises:
        HTTPException: the study has no such finding (404).
    """
    session: Session
    with database.session.begin() as session:
        try:
            row = give_verdict(
                session, study_instance_uid, finding_id, caller.name, right=given.right, note=given.note.strip()
            )
        except UnknownFinding:
            raise HTTPException(HTTPStatus.NOT_FOUND, "The study has no such finding.") from None
        said = "right" if given.right else "wrong"
        text = f"{row.finding} of {row.model} {row.model_version} judged {said}"
        study = audited_study(session, study_instance_uid)
        verdict = Verdict(row.reader, row.right, row.note, row.at)
    audit.acted(caller, study, text)
    return verdict
