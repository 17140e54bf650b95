"""Forms with files, read into memory: patient data that is sent to be looked at touches no disk."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import HTTPException, Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser


class _InMemory(MultiPartParser):
    """Starlette's parser, which would put files above 1 MB on disk. How large they may be is the body limit's."""

    spool_max_size = 1 << 62


async def form_in_memory(request: Request, *, files: int) -> FormData:
    """Read a multipart form with at most so many files; the caller closes it.

    Raises:
        HTTPException: it is none (415), or broken or of more files (422).
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send files as multipart/form-data.")
    try:
        return await _InMemory(request.headers, request.stream(), max_files=files, max_fields=8).parse()
    except MultiPartException as error:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, f"The form cannot be read: {error}.") from None


async def uploaded_files(form: FormData, field: str) -> list[tuple[str, bytes]]:
    """Name and content of every file of a field; a part without a name is what browsers send where none was chosen."""
    files = [part for part in form.getlist(field) if isinstance(part, UploadFile) and part.filename]
    return [(file.filename or "", await file.read()) for file in files]
