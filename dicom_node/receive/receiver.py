"""The storage SCP: takes associations, and answers success only when the archive has the object for good."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any, Protocol

import pynetdicom
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE

from dicom_node.config import Config
from dicom_node.disk import disk_space
from dicom_node.domain import Association
from dicom_node.receive.contexts import ACCEPTED_SOP_CLASSES, TRANSFER_SYNTAXES
from dicom_node.receive.refusal import Refused, StoreStatus
from dicom_node.transport import VERIFICATION, identify, send_without_delay

log = logging.getLogger(__name__)

SUCCESS = 0x0000

_REJECTIONS: dict[tuple[int | None, int | None], str] = {
    (1, 3): "its calling AE title is not listed as a sender",
    (1, 7): "it called an AE title that is not the node's",
    (3, 2): "too many associations are open (receive.maximum_associations)",
}
"""Reject source and diagnostic (PS3.8 9.3.4) in words."""


class InstanceSink(Protocol):
    """Where received objects go."""

    def accept(self, path: Path, association: Association) -> None:
        """Keep the Part 10 file at ``path`` durably and index it before returning.

        Raises:
            Refused: it was not kept, and why.
        """


class RefusalLog(Protocol):
    """Where refusals are written down for the status page."""

    def record(
        self, association: Association, reason: str, sop_instance_uid: str = "", status: int | None = None
    ) -> None:
        """Write down one refusal: of an association where ``status`` is None, else of an object."""


class Receiver:
    """Owns the listening socket and the associations; what happens to an object is the sink's business."""

    def __init__(self, config: Config, sink: InstanceSink, refusals: RefusalLog) -> None:
        self._config = config
        self._sink = sink
        self._refusals = refusals
        self._server: Any = None

    def start(self) -> None:
        """Listen. Returns at once; associations run in threads of their own.

        Raises:
            OSError: the port cannot be bound.
        """
        settings = self._config.receive
        # Chunked receive keeps memory flat whatever the object's size. The chunks must land on the file system
        # of the store, because the finished file is renamed into place.
        pynetdicom._config.STORE_RECV_CHUNKED_DATASET = True
        tempfile.tempdir = str(self._config.incoming_folder)
        entity = AE(ae_title=self._config.node.ae_title)
        identify(entity)
        entity.maximum_associations = settings.maximum_associations
        entity.maximum_pdu_size = settings.maximum_pdu_size
        entity.network_timeout = settings.network_timeout_seconds
        entity.require_called_aet = True
        if settings.senders == "listed":
            entity.require_calling_aet = [peer.ae_title for peer in self._config.peers if peer.sends]
        entity.add_supported_context(VERIFICATION)
        for sop_class in ACCEPTED_SOP_CLASSES:
            entity.add_supported_context(sop_class, list(TRANSFER_SYNTAXES))
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, send_without_delay),
            (evt.EVT_ACCEPTED, self._on_accepted),
            (evt.EVT_REJECTED, self._on_rejected),
            (evt.EVT_C_STORE, self._on_store),
        ]
        self._server = entity.start_server((settings.host, settings.port), block=False, evt_handlers=handlers)
        log.info("receiving as %s on %s:%d", self._config.node.ae_title, settings.host, settings.port)

    def stop(self) -> None:
        """Stop listening and end the open associations."""
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def _on_accepted(self, event: evt.Event) -> None:
        rejected = {str(context.abstract_syntax) for context in event.assoc.rejected_contexts}
        if rejected:
            names = ", ".join(sorted(UID(uid).name for uid in rejected))
            self._refusals.record(_association(event), f"not accepted, as class or in the syntaxes offered: {names}")

    def _on_rejected(self, event: evt.Event) -> None:
        answer = event.assoc.acceptor.primitive
        key = (answer.result_source, answer.diagnostic) if answer is not None else (None, None)
        reason = f"association rejected: {_REJECTIONS.get(key, f'source {key[0]}, diagnostic {key[1]}')}"
        self._refusals.record(_association(event), reason)

    def _on_store(self, event: evt.Event) -> Dataset | int:
        association = _association(event)
        request = event.request
        uid = str(request.AffectedSOPInstanceUID or "") if isinstance(request, C_STORE) else ""
        try:
            self._check_free_space()
            if event.dataset_path is None:
                raise Refused(StoreStatus.CANNOT_UNDERSTAND, "the request carries no data set")
            self._sink.accept(event.dataset_path, association)
        except Refused as error:
            refusal = error
        except Exception as error:
            # The library would leave the temporary file behind if anything got past here.
            log.exception("storing %s failed", uid)
            refusal = Refused(StoreStatus.CANNOT_UNDERSTAND, f"internal error ({type(error).__name__}), see the log")
        else:
            return SUCCESS
        log.warning("refused %s from %s: %s", uid, association.calling_ae_title, refusal.reason)
        self._refusals.record(association, refusal.reason, uid, int(refusal.status))
        return _failure(refusal)

    def _check_free_space(self) -> None:
        try:
            disk = disk_space(self._config)
        except OSError as error:
            raise Refused(StoreStatus.OUT_OF_RESOURCES, f"the data folder is gone: {error.strerror}") from error
        if disk.is_short:
            raise Refused(
                StoreStatus.OUT_OF_RESOURCES,
                f"disk almost full: {disk.free_megabytes} MB free, {disk.needed_megabytes} MB needed",
            )


def _association(event: evt.Event) -> Association:
    requestor = event.assoc.requestor
    return Association(
        calling_ae_title=str(requestor.ae_title or "").strip(),
        called_ae_title=str(getattr(requestor.primitive, "called_ae_title", "") or "").strip(),
        address=str(requestor.address or ""),
    )


def _failure(refusal: Refused) -> Dataset:
    response = Dataset()
    response.Status = int(refusal.status)
    response.ErrorComment = refusal.reason[:64]
    return response
