"""The listening socket: takes connections and makes each a prompt association."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pynetdicom
from pynetdicom import AE
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation, AssociationSocket, RequestHandler, ThreadedAssociationServer

from dicom_node.receive.upper_layer import OpenFile, PromptAssociation

FailedHandshake = Callable[[str, Exception], None]

SUPPORTED_PYNETDICOM = "3.0"
"""The release series whose internals ``upper_layer`` and this module build on; their tests hold them to it."""


class UnsupportedPynetdicom(Exception):
    """The installed pynetdicom is not of the release series that the receiver was written for."""


class PromptServer(ThreadedAssociationServer):
    """pynetdicom's server with prompt associations.

    TLS handshakes run in the connection's own thread, so that a silent caller keeps nobody else waiting. With
    ``shared_port`` several processes may listen on the same port, and the kernel deals connections out to them.
    """

    request_queue_size = 128
    daemon_threads = True

    def __init__(
        self,
        entity: AE,
        address: tuple[str, int],
        ae_title: str,
        contexts: list[PresentationContext],
        ssl_context: ssl.SSLContext | None,
        evt_handlers: list[Any],
        *,
        open_file: OpenFile,
        takes: Callable[[str], bool],
        shared_port: bool,
        on_failed_handshake: FailedHandshake,
    ) -> None:
        self.open_file = open_file
        self.on_failed_handshake = on_failed_handshake
        self._takes = takes
        self._shared_port = shared_port
        super().__init__(entity, address, ae_title, contexts, ssl_context, evt_handlers, _PromptRequestHandler)

    def server_bind(self) -> None:
        """Bind the socket."""
        if self._shared_port and self.socket is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Take a connection; a TLS handshake is left to its thread."""
        listening: Any = self.socket
        connection, address = listening.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(self.ae.acse_timeout)
        if self.ssl_context is not None:
            connection = self.ssl_context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether the connection is taken; one that is not is closed before a byte is read."""
        return self._takes(client_address[0])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that failed before its association began is no news."""


class _PromptRequestHandler(RequestHandler):
    server: PromptServer

    def handle(self) -> None:
        if isinstance(self.request, ssl.SSLSocket):
            try:
                self.request.do_handshake()
            except OSError as error:
                self.server.on_failed_handshake(str(self.client_address[0]), error)
                self.server.shutdown_request(self.request)
                return
        super().handle()

    def _create_association(self) -> PromptAssociation:
        """As in pynetdicom, with another class of association."""
        association = PromptAssociation(self.ae, "acceptor", self.server.open_file)
        association._server = self.server
        association.name = f"AcceptorThread@{self.client_address[0]}"  # the server finds its associations by it
        association.set_socket(AssociationSocket(association, client_socket=self.request))
        acceptor = association.acceptor
        acceptor.maximum_length = self.ae.maximum_pdu_size
        acceptor.ae_title = self.server.ae_title
        acceptor.address_info = self.local
        acceptor.implementation_class_uid = self.ae.implementation_class_uid
        acceptor.implementation_version_name = self.ae.implementation_version_name
        acceptor.supported_contexts = self.server.contexts
        association.requestor.address_info = AddressInformation.from_tuple(self.client_address)
        for event, bound in self.server._handlers.items():
            handlers: Any = [bound] if event.is_intervention else bound
            for handler, arguments in handlers:
                association.bind(event, handler, arguments)
        return association


def serve(
    entity: AE,
    address: tuple[str, int],
    handlers: Sequence[Any],
    open_file: OpenFile,
    *,
    takes: Callable[[str], bool] = lambda _: True,
    shared_port: bool = False,
    ssl_context: ssl.SSLContext | None = None,
    on_failed_handshake: FailedHandshake = lambda _address, _error: None,
) -> PromptServer:
    """Listen at ``address`` in a thread, for connections from addresses that ``takes`` agrees to.

    ``on_failed_handshake`` is told the address of a caller with whom no TLS came about, and why.

    Raises:
        OSError: the address cannot be bound.
        UnsupportedPynetdicom: another release series is installed.
    """
    if not pynetdicom.__version__.startswith(f"{SUPPORTED_PYNETDICOM}."):
        raise UnsupportedPynetdicom(
            f"pynetdicom {pynetdicom.__version__} is installed, and the receiver is written for {SUPPORTED_PYNETDICOM}"
        )
    # The standard handlers put every PDU into words for the log, which is off.
    pynetdicom._config.LOG_HANDLER_LEVEL = "none"
    server = entity.make_server(
        address,
        evt_handlers=list(handlers),
        ssl_context=ssl_context,
        server_class=PromptServer,
        open_file=open_file,
        takes=takes,
        shared_port=shared_port,
        on_failed_handshake=on_failed_handshake,
    )
    assert isinstance(server, PromptServer)  # noqa: S101 - make_server's type says less than it does
    entity._servers.append(server)
    threading.Thread(target=server.serve_forever, name="receiver", daemon=True).start()
    return server
