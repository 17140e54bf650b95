"""How errors are told: problem details (RFC 9457) to programs, a page in plain words to people."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.templating import Jinja2Templates
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

from dicom_node.passing import in_words, passes
from dicom_node.web.security import SECURITY_HEADERS

log = logging.getLogger(__name__)

_DATABASE = (
    "The database does not answer. Check that it runs and can be reached, or that its file is in place and the disk is "
    "not full: 'dicom-node check' names the cause. Images that are refused meanwhile are sent again by their sender."
)
_STORE = (
    "The store of images and results does not answer: 'dicom-node check' names the cause. Nothing is lost; come back "
    "in a moment."
)
_UNFORESEEN = "Something unforeseen happened. The log of the web process has the details."


class Problem(BaseModel):
    """Problem details as RFC 9457 has them."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "A problem, in words",
        "content": {"application/problem+json": {"schema": Problem.model_json_schema()}},
    }
}
"""For the OpenAPI document: what every API route may answer."""


def problem(status: int, detail: str) -> JSONResponse:
    """Problem details as a response."""
    content = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail)
    return JSONResponse(content.model_dump(), status, media_type="application/problem+json")


def install_problem_handlers(app: FastAPI, templates: Jinja2Templates) -> None:
    """Answer every error of ``app`` in the form its caller reads, without a stack trace."""

    def answer(request: Request, status: int, detail: str) -> Response:
        if request.url.path.startswith(("/api/", "/dicom-web/")):
            return problem(status, detail)
        if status == HTTPStatus.UNAUTHORIZED and request.method == "GET" and "hx-request" not in request.headers:
            wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"/login?{urlencode({'next': wanted})}", HTTPStatus.SEE_OTHER)
        context = {"status": status, "title": HTTPStatus(status).phrase, "detail": detail}
        return templates.TemplateResponse(request, "error.html", context, status)

    async def http_error(request: Request, error: HTTPException) -> Response:
        detail = error.detail
        if error.status_code == HTTPStatus.NOT_FOUND and detail == HTTPStatus.NOT_FOUND.phrase:
            detail = "There is nothing at this address."
        response = answer(request, error.status_code, detail)
        response.headers.update(error.headers or {})
        return response

    async def invalid_request(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        if first["loc"][0] == "path":
            return answer(request, HTTPStatus.NOT_FOUND, "There is nothing at this address: it holds no valid UID.")
        where = ".".join(str(part) for part in first["loc"][1:])
        return answer(request, HTTPStatus.UNPROCESSABLE_ENTITY, f"{where}: {first['msg']}")

    async def database_error(request: Request, error: sa.exc.SQLAlchemyError) -> Response:
        if passes(error):
            log.error("the database does not work: %s", in_words(error))
        else:
            log.error("the database cannot be read", exc_info=error)
        return answer(request, HTTPStatus.SERVICE_UNAVAILABLE, _DATABASE)

    async def store_error(request: Request, error: OSError) -> Response:
        if not passes(error):
            raise error
        log.error("the store of images and results does not work: %s", in_words(error))
        return answer(request, HTTPStatus.SERVICE_UNAVAILABLE, _STORE)

    async def unforeseen(request: Request, _error: Exception) -> Response:
        response = answer(request, HTTPStatus.INTERNAL_SERVER_ERROR, _UNFORESEEN)
        response.headers.update(SECURITY_HEADERS)  # Starlette answers this one outside of every middleware
        return response

    app.exception_handler(HTTPException)(http_error)
    app.exception_handler(RequestValidationError)(invalid_request)
    app.exception_handler(sa.exc.DBAPIError)(database_error)
    app.exception_handler(sa.exc.TimeoutError)(database_error)
    app.exception_handler(OSError)(store_error)
    app.exception_handler(Exception)(unforeseen)
