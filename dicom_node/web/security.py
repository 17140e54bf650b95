"""What every answer tells the browser to refuse, and which requests of foreign pages are refused."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import HTTPException, Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",  # pages and pictures hold patient data
}

_STATIC = "/static/"
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


class SecurityHeaders:
    """ASGI middleware: adds the security headers, and lets browsers keep the static files only."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def send_protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(SECURITY_HEADERS)
                if scope["path"].startswith(_STATIC):
                    headers["Cache-Control"] = "no-cache"  # kept, but asked for again: an upgrade shows at once
            await send(message)

        await self._app(scope, receive, send_protected)


def refuse_foreign_pages(request: Request) -> None:
    """Refuse a request that would change something when a page of another site makes it.

    Browsers send Sec-Fetch-Site and pages cannot forge it; programs send none and are let through.
    """
    site = request.headers.get("sec-fetch-site", "none")
    if request.method not in SAFE_METHODS and site not in {"none", "same-origin"}:
        raise HTTPException(HTTPStatus.FORBIDDEN, "A page of another site asked for this, which is not allowed.")
