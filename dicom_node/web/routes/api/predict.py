"""Predictions for single images: a multipart upload in, probabilities and decisions out; nothing is kept."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, HTTPException, Request
from starlette.datastructures import UploadFile

from dicom_node.domain import NotApplicable
from dicom_node.imaging.errors import UnreadableImage
from dicom_node.web.formats import UnknownFormat
from dicom_node.web.prediction import Busy, Prediction, Predictor, UnknownModel
from dicom_node.web.problems import PROBLEM_RESPONSES
from dicom_node.web.uploads import form_in_memory

_FORM = {
    "type": "object",
    "required": ["image"],
    "properties": {
        "image": {"type": "string", "format": "binary", "description": "A DICOM file, PNG or JPEG"},
        "model": {"type": "string", "description": "Name of the model; chosen by the DICOM header where left out"},
        "heat_map": {"type": "boolean", "description": "Also show where the model looked; slower"},
    },
}

router = APIRouter(prefix="/predict", tags=["predictions"], responses=PROBLEM_RESPONSES)


_BODY = {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}


@router.post("", openapi_extra={"requestBody": _BODY})
async def predict(request: Request) -> Prediction:
    """Read one image with a model, without a study, an archive or a trace of it.

    413 where it is too large, 415 where it is neither DICOM nor PNG nor JPEG, 422 where it is broken or no model
    reads such an image, 404 where there is no such model, 503 with Retry-After where too many requests wait.
    """
    predictor: Predictor = request.app.state.predictor
    form = await form_in_memory(request, files=1)
    try:
        image, model = form.get("image"), form.get("model")
        if not isinstance(image, UploadFile):
            raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, "image: send the file in a part of this name.")
        heat_map = str(form.get("heat_map", "")).lower() in ("true", "1", "yes", "on")
        name = model if isinstance(model, str) and model else None
        return await predictor.predict(await image.read(), name, heat_map=heat_map)
    except UnknownFormat:
        detail = "The image is neither a DICOM file (PS3.10) nor PNG nor JPEG."
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail) from None
    except UnknownModel as error:
        raise HTTPException(HTTPStatus.NOT_FOUND, str(error)) from None
    except UnreadableImage as error:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, f"The image cannot be read: {error.reason}.") from None
    except NotApplicable as error:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
    except Busy:
        detail = "As many images as are let in wait for the model already. Send this one again in a moment."
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, detail, {"Retry-After": "1"}) from None
    finally:
        await form.close()
