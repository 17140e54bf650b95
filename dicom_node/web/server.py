"""The HTTP server, which ends although pages are open."""

from __future__ import annotations

import socket

import uvicorn

from dicom_node.web.changes import Changes


class Server(uvicorn.Server):
    """Ends the streams of open pages before it waits for the requests that are under way."""

    def __init__(self, settings: uvicorn.Config, changes: Changes) -> None:
        super().__init__(settings)
        self._changes = changes

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what was asked, and end."""
        self._changes.close()
        await super().shutdown(sockets)
