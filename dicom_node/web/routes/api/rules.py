"""The rule tester in the API: headers in, decisions out; nothing is kept."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, HTTPException, Request

from dicom_node.web.auditing import CurrentAudit
from dicom_node.web.callers import OPERATORS, CurrentCaller
from dicom_node.web.dependencies import CurrentConfig, CurrentFiles, InstanceUid, ReadingSession
from dicom_node.web.manifests import CurrentManifests
from dicom_node.web.problems import PROBLEM_RESPONSES
from dicom_node.web.queries.study import audited_study
from dicom_node.web.rule_test import NotDicomJson, SeriesVerdict, header_verdicts, held_study_verdicts

router = APIRouter(tags=["rules"], responses=PROBLEM_RESPONSES, dependencies=[OPERATORS])

_BODY = {"required": True, "content": {"application/dicom+json": {"schema": {"type": "array", "items": {}}}}}


@router.post("/rules/test", openapi_extra={"requestBody": _BODY})
async def test_rules(request: Request, manifests: CurrentManifests) -> tuple[SeriesVerdict, ...]:
    """Which model would read which series, and why not.

    The body is DICOM JSON (PS3.18 F): headers of images, or of series with NumberOfSeriesRelatedInstances. 422 where
    it is something else.
    """
    try:
        return header_verdicts((await request.body()).decode("utf-8", errors="replace"), manifests)
    except NotDicomJson as error:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None


@router.get("/studies/{study_instance_uid}/rules")
def test_study(
    session: ReadingSession,
    config: CurrentConfig,
    files: CurrentFiles,
    manifests: CurrentManifests,
    caller: CurrentCaller,
    audit: CurrentAudit,
    study_instance_uid: InstanceUid,
) -> tuple[SeriesVerdict, ...]:
    """Which model would read which series of a study that is held, by the rules as they are now."""
    verdicts = held_study_verdicts(session, config, files, study_instance_uid, manifests)
    if not verdicts:
        raise HTTPException(HTTPStatus.NOT_FOUND, "The node holds no images of a study with this UID.")
    audit.viewed(caller, audited_study(session, study_instance_uid))
    return verdicts
