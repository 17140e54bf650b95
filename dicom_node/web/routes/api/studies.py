"""Studies in the API: the list, and one study."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, HTTPException

from dicom_node.web.auditing import CurrentAudit
from dicom_node.web.callers import CurrentCaller
from dicom_node.web.dependencies import Before, InstanceUid, Limit, ReadingSession, Wanted
from dicom_node.web.problems import PROBLEM_RESPONSES
from dicom_node.web.queries.studies import Cursor, StudyPage, list_studies
from dicom_node.web.queries.study import StudyDetail, get_study

router = APIRouter(prefix="/studies", tags=["studies"], responses=PROBLEM_RESPONSES)

_UNKNOWN = "The node holds no study with this UID."


@router.get("")
def read_studies(
    session: ReadingSession,
    caller: CurrentCaller,
    audit: CurrentAudit,
    wanted: Wanted,
    before: Before = None,
    limit: Limit = 50,
) -> StudyPage:
    """Studies by arrival, newest first. Pass ``next`` as ``before`` to get the page that follows.

    Where several filters are combined, a page may hold fewer studies than asked for and still have a next one.
    """
    if wanted.patient:
        audit.searched(caller, f"studies of a patient whose name or ID begins with {wanted.patient!r}")
    return list_studies(session, wanted, before=Cursor.parse(before) if before else None, limit=limit)


@router.get("/{study_instance_uid}")
def read_study(
    session: ReadingSession, caller: CurrentCaller, audit: CurrentAudit, study_instance_uid: InstanceUid
) -> StudyDetail:
    """One study: series, analyses with findings and deliveries, timeline; the patient to operators only."""
    found = get_study(session, study_instance_uid)
    if found is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, _UNKNOWN)
    if not caller.role.sees_patients:
        return found.without_patient()
    audit.viewed(caller, found.audited)
    return found
