"""The page on which somebody tries a model: nothing of what is sent is kept, unless that is asked for."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, HTTPException, Request, Response
from starlette.concurrency import run_in_threadpool

from dicom_node.audit.message import AuditedStudy
from dicom_node.web.auditing import CurrentAudit
from dicom_node.web.callers import OPERATORS, CurrentCaller
from dicom_node.web.dependencies import CurrentConfig, Templates
from dicom_node.web.formats import UnknownFormat, image_format
from dicom_node.web.intake import Intake, Taken
from dicom_node.web.prediction import Busy, Predictor
from dicom_node.web.trial import NotTried
from dicom_node.web.uploads import form_in_memory, uploaded_files

MOST_FILES = 5000

router = APIRouter(prefix="/try", dependencies=[OPERATORS])


@router.get("")
def trial(request: Request, config: CurrentConfig, templates: Templates) -> Response:
    """Choose what to try, and which model reads it."""
    predictor: Predictor = request.app.state.predictor
    context = {"models": predictor.models, "megabytes": config.web.maximum_request_megabytes}
    return templates.TemplateResponse(request, "try.html", context)


@router.post("")
async def read(request: Request, templates: Templates, caller: CurrentCaller, audit: CurrentAudit) -> Response:
    """Read what was sent, and show what the model says; with ``keep``, take it as a received study too."""
    predictor: Predictor = request.app.state.predictor
    form = await form_in_memory(request, files=MOST_FILES)
    try:
        files = [file for file in await uploaded_files(form, "files") if _is_image(file[1])]
        model = str(form.get("model", "")) or None
        found = await predictor.try_out(files, model)
        kept = await _keep(request, caller, audit, files) if form.get("keep") else None
    except (NotTried, UnknownFormat) as error:
        return templates.TemplateResponse(request, "tried.html", {"trial": None, "problem": str(error), "kept": None})
    except Busy:
        detail = "As many images as are let in wait for the model already. Try again in a moment."
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, detail, {"Retry-After": "1"}) from None
    finally:
        await form.close()
    return templates.TemplateResponse(request, "tried.html", {"trial": found, "problem": "", "kept": kept})


def _is_image(content: bytes) -> bool:
    """Folders of studies hold other files too: DICOMDIR viewers, notes."""
    try:
        image_format(content)
    except UnknownFormat:
        return False
    return True


async def _keep(
    request: Request, caller: CurrentCaller, audit: CurrentAudit, files: list[tuple[str, bytes]]
) -> dict[str, object]:
    """Take DICOM files as if they had been sent; what is neither kept nor DICOM is counted."""
    intake: Intake = request.app.state.intake

    def take(content: bytes) -> Taken:
        file = intake.open_file()
        file.write(memoryview(content))
        file.finish()
        return intake.keep(file, caller)

    taken = [await run_in_threadpool(take, content) for _, content in files if image_format(content) == "DICOM"]
    await run_in_threadpool(intake.flush)
    kept = [one for one in taken if one.refusal is None]
    for uid, one in {one.study_instance_uid: one for one in kept}.items():
        audit.stored(caller, AuditedStudy(uid, one.patient_id, one.accession_number))
    refused = [one.refusal.text for one in taken if one.refusal is not None]
    return {
        "count": len(kept),
        "study": kept[0].study_instance_uid if kept else None,
        "refused": list(dict.fromkeys(refused)),
        "plain": len(files) - len(taken),
    }
