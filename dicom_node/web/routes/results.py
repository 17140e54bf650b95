"""The result objects of a study: the DICOM file itself, the secondary capture as a picture, the report as text."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse
from sqlalchemy.orm import Session

from dicom_node.config import Config
from dicom_node.stored_files import StoredFiles
from dicom_node.web.auditing import CurrentAudit
from dicom_node.web.callers import OPERATORS, CurrentCaller
from dicom_node.web.dependencies import CurrentConfig, CurrentFiles, InstanceUid, ReadingSession, Templates
from dicom_node.web.queries.study import audited_study, result_files
from dicom_node.web.report_content import NotAReport, read_report
from dicom_node.web.result_objects import NotAPicture, render_png, stored_path

router = APIRouter(prefix="/studies/{study_instance_uid}/results", dependencies=[OPERATORS])


@router.get("/{sop_instance_uid}.dcm")
def result_file(
    session: ReadingSession,
    config: CurrentConfig,
    files: CurrentFiles,
    caller: CurrentCaller,
    audit: CurrentAudit,
    study_instance_uid: InstanceUid,
    sop_instance_uid: InstanceUid,
) -> FileResponse:
    """The result object as a DICOM Part 10 file."""
    path = _path(session, config, files, study_instance_uid, sop_instance_uid)
    audit.downloaded(caller, audited_study(session, study_instance_uid))
    return FileResponse(path, media_type="application/dicom", filename=f"{sop_instance_uid}.dcm")


@router.get("/{sop_instance_uid}.png")
def result_picture(
    session: ReadingSession,
    config: CurrentConfig,
    files: CurrentFiles,
    caller: CurrentCaller,
    audit: CurrentAudit,
    study_instance_uid: InstanceUid,
    sop_instance_uid: InstanceUid,
    frame: Annotated[int, Query(ge=1)] = 1,
) -> Response:
    """One frame of a secondary capture."""
    path = _path(session, config, files, study_instance_uid, sop_instance_uid)
    audit.viewed(caller, audited_study(session, study_instance_uid))
    try:
        return Response(render_png(path, frame), media_type="image/png")
    except NotAPicture as error:
        raise HTTPException(HTTPStatus.NOT_FOUND, str(error)) from error


@router.get("/{sop_instance_uid}")
def result_page(
    request: Request,
    session: ReadingSession,
    config: CurrentConfig,
    files: CurrentFiles,
    caller: CurrentCaller,
    audit: CurrentAudit,
    templates: Templates,
    study_instance_uid: InstanceUid,
    sop_instance_uid: InstanceUid,
) -> Response:
    """A structured report, as text."""
    path = _path(session, config, files, study_instance_uid, sop_instance_uid)
    audit.viewed(caller, audited_study(session, study_instance_uid))
    try:
        report = read_report(path)
    except NotAReport as error:
        raise HTTPException(HTTPStatus.NOT_FOUND, str(error)) from error
    context = {"report": report, "study_instance_uid": study_instance_uid, "sop_instance_uid": sop_instance_uid}
    return templates.TemplateResponse(request, "report.html", context)


def _path(session: Session, config: Config, files: StoredFiles, study_instance_uid: str, sop_instance_uid: str) -> Path:
    relative = result_files(session, study_instance_uid).get(sop_instance_uid)
    if relative is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "The study has no result object with this UID.")
    path = stored_path(files, config.results_folder, relative)
    if path is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "The file of this result object is no longer in the results folder.")
    return path
