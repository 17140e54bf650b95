"""The stream of server-sent events by which open pages learn that there is something new; it holds nothing itself."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from dicom_node.web.callers import CurrentCaller
from dicom_node.web.changes import STREAM, Changes

STREAM_SECONDS = 60.0
"""A stream ends after so long, and the page asks for the next one: as somebody who may still come in, or no longer."""

router = APIRouter()


def _changes(request: Request) -> Changes:
    changes: Changes = request.app.state.changes
    return changes


@router.get(STREAM, response_class=EventSourceResponse)
async def stream(
    _caller: CurrentCaller,
    changes: Annotated[Changes, Depends(_changes)],
    last_event_id: Annotated[str, Header(max_length=32)] = "",
) -> AsyncIterator[ServerSentEvent]:
    """Say ``changed`` whenever something was written; a page that comes back is told what it missed."""
    ends = time.monotonic() + STREAM_SECONDS
    with changes.listening():
        number = int(last_event_id) if last_event_id.isdecimal() else changes.number
        yield ServerSentEvent(id=str(number))
        while not changes.closed and (left := ends - time.monotonic()) > 0:
            seen, number = number, await changes.after(number, left)
            if number != seen:
                yield ServerSentEvent(event="changed", raw_data="", id=str(number))
