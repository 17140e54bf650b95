"""STOW-RS (PS3.18 10.5), a second way in beside C-STORE: kept durably and indexed before it is answered."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from dicom_node.audit.message import AuditedStudy
from dicom_node.receive.admission import admit_connection
from dicom_node.receive.incoming import IncomingFile
from dicom_node.web.auditing import CurrentAudit
from dicom_node.web.callers import CurrentCaller
from dicom_node.web.dependencies import CurrentConfig, InstanceUid
from dicom_node.web.intake import Intake
from dicom_node.web.problems import PROBLEM_RESPONSES
from dicom_node.web.stow import NotMultipart, StoreResponse, StowParts

STOW_PREFIX = "/dicom-web"
_JSON = "application/dicom+json"
_ACCEPTED = {_JSON, "application/json", "application/*", "*/*"}
_BODY = {
    "required": True,
    "content": {'multipart/related; type="application/dicom"': {"schema": {"type": "string", "format": "binary"}}},
}

router = APIRouter(prefix=f"{STOW_PREFIX}/studies", tags=["dicomweb"], responses=PROBLEM_RESPONSES)


@router.post("", openapi_extra={"requestBody": _BODY}, response_class=Response)
async def store(request: Request, config: CurrentConfig, caller: CurrentCaller, audit: CurrentAudit) -> Response:
    """Keep every object of a multipart/related request; answers what became of each (PS3.18 I.2).

    200 where all were kept, 202 where some were, 409 where none was, 400 where the request is broken, 406 and 415 where
    it asks for or sends another form, 503 with Retry-After where as many requests as are let in store already.
    """
    return await _store(request, config, caller, audit, None)


@router.post("/{study_instance_uid}", openapi_extra={"requestBody": _BODY}, response_class=Response)
async def store_in_study(
    request: Request,
    config: CurrentConfig,
    caller: CurrentCaller,
    audit: CurrentAudit,
    study_instance_uid: InstanceUid,
) -> Response:
    """Keep every object of a request that is of this study; others are refused."""
    return await _store(request, config, caller, audit, study_instance_uid)


async def _store(
    request: Request, config: CurrentConfig, caller: CurrentCaller, audit: CurrentAudit, study: str | None
) -> Response:
    intake: Intake = request.app.state.intake
    slots: asyncio.Semaphore = request.app.state.stow_slots
    _check_form(request)
    if (refused := admit_connection(caller.address, 0, config)) is not None and caller.address:
        raise HTTPException(HTTPStatus.FORBIDDEN, f"{refused[1].partition(': ')[2].capitalize()}.")
    if slots.locked():
        detail = "As many requests as are let in store already (web.maximum_stow_requests). Come back in a moment."
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, detail, {"Retry-After": "5"})
    answer, studies = StoreResponse(), dict[str, AuditedStudy]()

    def keep(file: IncomingFile) -> None:
        taken = intake.keep(file, caller, study)
        answer.add(taken)
        if taken.refusal is None:
            studies[taken.study_instance_uid] = AuditedStudy(
                taken.study_instance_uid, taken.patient_id, taken.accession_number
            )

    async with slots:
        try:
            parts = StowParts(request.headers.get("content-type", ""), intake.open_file, keep)
        except NotMultipart as error:
            raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, str(error)) from None
        try:
            async for piece in request.stream():
                await run_in_threadpool(parts.write, piece)
            parts.close()
        except NotMultipart as error:
            raise HTTPException(HTTPStatus.BAD_REQUEST, str(error)) from None
        finally:
            parts.discard()
            await run_in_threadpool(intake.flush)
            for stored in studies.values():
                audit.stored(caller, stored)
    return JSONResponse(answer.as_json(), answer.status, media_type=_JSON)


def _check_form(request: Request) -> None:
    wanted = {part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "*/*").split(",")}
    if not wanted & _ACCEPTED:
        raise HTTPException(HTTPStatus.NOT_ACCEPTABLE, "The answer is application/dicom+json; accept that.")
