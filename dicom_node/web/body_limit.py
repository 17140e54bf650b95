"""How large a request may be: refused by its announced length, or once more has come than it may hold."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dicom_node.web.problems import problem


class BodyLimit:
    """ASGI middleware: no body above ``maximum_bytes`` reaches memory or a temporary file.

    What is sent to addresses that begin with ``streamed`` is taken piece by piece, and limited there; a signed request
    is not, since its signature is of the whole body.
    """

    def __init__(self, app: ASGIApp, maximum_bytes: int, streamed: tuple[str, ...] = ()) -> None:
        self._app = app
        self._maximum = maximum_bytes
        self._streamed = streamed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        signed = any(name == b"signature-input" for name, _ in scope["headers"])
        if not signed and scope["path"].startswith(self._streamed):
            await self._app(scope, receive, send)
            return
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not announced.isdigit() or int(announced) > self._maximum:
            await problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._words)(scope, receive, send)
            return
        if signed:
            await self._serve_signed(scope, receive, send)
            return
        held = 0

        async def receive_limited() -> Message:
            nonlocal held
            message = await receive()
            held += len(message.get("body", b""))
            if held > self._maximum:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._words)
            return message

        await self._app(scope, receive_limited, send)

    async def _serve_signed(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body of a signed request for its digest, as ``scope["signed_body"]``, before a route reads it."""
        body, more = bytearray(), True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._maximum:
                await problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._words)(scope, receive, send)
                return
        scope["signed_body"] = bytes(body)
        unread: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def receive_again() -> Message:
            return unread.pop() if unread else await receive()

        await self._app(scope, receive_again, send)

    @property
    def _words(self) -> str:
        return f"A request may hold {self._maximum // (1 << 20)} MB (web.maximum_request_megabytes)."
