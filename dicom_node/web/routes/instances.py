"""Received images as pictures: a series by its middle image, and single images."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Response

from dicom_node.config import Config
from dicom_node.stored_files import StoredFiles
from dicom_node.web.auditing import CurrentAudit
from dicom_node.web.callers import OPERATORS, CurrentCaller
from dicom_node.web.dependencies import CurrentConfig, CurrentFiles, InstanceUid, ReadingSession
from dicom_node.web.pictures import render_instance
from dicom_node.web.queries.study import audited_study, instance_path, middle_instance_path
from dicom_node.web.result_objects import NotAPicture, stored_path

_THUMBNAIL = 192
_LARGEST = 1024

router = APIRouter(prefix="/studies/{study_instance_uid}", dependencies=[OPERATORS])


@router.get("/series/{series_instance_uid}.png")
def series_picture(
    session: ReadingSession,
    config: CurrentConfig,
    files: CurrentFiles,
    caller: CurrentCaller,
    audit: CurrentAudit,
    study_instance_uid: InstanceUid,
    series_instance_uid: InstanceUid,
) -> Response:
    """The middle image of a series, small."""
    relative = middle_instance_path(session, study_instance_uid, series_instance_uid)
    audit.viewed(caller, audited_study(session, study_instance_uid))
    return _picture(config, files, relative, 1, _THUMBNAIL)


@router.get("/instances/{sop_instance_uid}.png")
def instance_picture(
    session: ReadingSession,
    config: CurrentConfig,
    files: CurrentFiles,
    caller: CurrentCaller,
    audit: CurrentAudit,
    study_instance_uid: InstanceUid,
    sop_instance_uid: InstanceUid,
    frame: Annotated[int, Query(ge=1, le=1 << 31)] = 1,
) -> Response:
    """One frame of a received image."""
    relative = instance_path(session, study_instance_uid, sop_instance_uid)
    audit.viewed(caller, audited_study(session, study_instance_uid))
    return _picture(config, files, relative, frame, _LARGEST)


def _picture(config: Config, files: StoredFiles, relative: str | None, frame: int, largest: int) -> Response:
    path: Path | None = stored_path(files, config.instances_folder, relative) if relative is not None else None
    if path is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "The node does not hold this image, or no longer.")
    try:
        return Response(render_instance(path, frame, largest), media_type="image/png")
    except NotAPicture as error:
        raise HTTPException(HTTPStatus.NOT_FOUND, str(error)) from error
