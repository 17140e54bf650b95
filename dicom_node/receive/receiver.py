"""The storage SCP: takes associations, and answers success only when the archive has the object for good."""

from __future__ import annotations

import logging
import re
import socket
import ssl
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.association import Association as DicomAssociation

from dicom_node.audit.message import AuditedStudy
from dicom_node.audit.transfers import Transfers
from dicom_node.config import Config
from dicom_node.domain import Association
from dicom_node.log_context import say_about
from dicom_node.receive.admission import admit, admit_connection
from dicom_node.receive.commitment import CommitmentRegister, on_action, on_event_report
from dicom_node.receive.contexts import ACCEPTED_SOP_CLASSES, TRANSFER_SYNTAXES
from dicom_node.receive.free_space import check_free_space
from dicom_node.receive.incoming import IncomingFile, file_meta
from dicom_node.receive.refusal import Reason, Refused
from dicom_node.receive.server import serve
from dicom_node.receive.upper_layer import CutOff
from dicom_node.tls import receiver_context, what_went_wrong
from dicom_node.transport import STORAGE_COMMITMENT, VERIFICATION, identify

log = logging.getLogger(__name__)

SUCCESS = 0x0000

_CUT_OFF = {
    CutOff.SILENT: (
        Reason.SENDER_SILENT,
        "association ended: nothing came for longer than receive.network_timeout_seconds",
    ),
    CutOff.PDU_TOO_LONG: (Reason.PDU_TOO_LONG, "association aborted: a PDU was longer than receive.maximum_pdu_size"),
}


class InstanceSink(Protocol):
    """Where received objects go."""

    def accept(self, path: Path, association: Association) -> AuditedStudy:
        """Keep the Part 10 file at ``path`` durably and index it before returning, with the study and what came of it.

        Raises:
            Refused: it was not kept, and why.
        """


class RefusalLog(Protocol):
    """Where refusals are written down for the status page."""

    def record(self, association: Association, reason: Reason, text: str, sop_instance_uid: str = "") -> None:
        """Write down one refusal, of an association or, as the reason says, of an object."""


class Receiver:
    """Owns the listening socket and the associations; what happens to an object is the sink's business."""

    def __init__(
        self,
        config: Config,
        sink: InstanceSink,
        refusals: RefusalLog,
        commitments: CommitmentRegister | None = None,
        transfers: Transfers | None = None,
    ) -> None:
        self._config = config
        self._transfers = transfers
        self._commitments = commitments
        self._sink = sink
        self._refusals = refusals
        self._entity = AE(ae_title=config.node.ae_title)
        self._admission = threading.Lock()
        self._admitted: list[DicomAssociation] = []

    def start(self) -> None:
        """Listen. Returns at once; associations run in threads of their own.

        Raises:
            OSError: a port cannot be bound.
            ConfigurationError: the certificate for TLS cannot be used.
        """
        settings = self._config.receive
        entity = self._entity
        identify(entity)
        entity.maximum_associations = 2 * settings.maximum_associations  # decided in _on_requested
        entity.maximum_pdu_size = settings.maximum_pdu_size
        entity.acse_timeout = settings.request_timeout_seconds
        entity.network_timeout = settings.network_timeout_seconds
        entity.add_supported_context(VERIFICATION)
        for sop_class in ACCEPTED_SOP_CLASSES:
            entity.add_supported_context(sop_class, list(TRANSFER_SYNTAXES))
        handlers: list[Any] = [
            (evt.EVT_REQUESTED, self._on_requested),
            (evt.EVT_ACCEPTED, self._on_accepted),
            (evt.EVT_CONN_CLOSE, self._on_closed),
            (evt.EVT_C_STORE, self._on_store),
        ]
        if self._commitments is not None:
            # As SCP the node is asked to commit what it holds; as SCU destinations call it back, in reversed roles.
            entity.add_supported_context(STORAGE_COMMITMENT, scu_role=True, scp_role=True)
            handlers.append((evt.EVT_N_ACTION, on_action, [self._commitments]))
            handlers.append((evt.EVT_N_EVENT_REPORT, on_event_report, [self._commitments]))
        for port, context in self._listeners():
            serve(
                entity,
                (settings.host, port),
                handlers,
                self._open_file,
                takes=self._takes_connection,
                shared_port=settings.processes > 1,
                ssl_context=context,
                on_failed_handshake=self._on_failed_handshake,
            )
            kind = " with TLS" if context else ""
            log.info("receiving as %s on %s:%d%s", self._config.node.ae_title, settings.host, port, kind)

    def stop(self) -> None:
        """Stop listening and end the open associations."""
        self._entity.shutdown()

    def _listeners(self) -> Iterator[tuple[int, ssl.SSLContext | None]]:
        """The ports, each with what is spoken there."""
        settings = self._config.receive
        if settings.plain:
            yield settings.port, None
        if settings.tls is not None:
            yield settings.tls.port, receiver_context(settings.tls)

    def _on_failed_handshake(self, address: str, error: Exception) -> None:
        text = f"no TLS with the caller: {what_went_wrong(error)}"
        self._refusals.record(Association("", "", address), Reason.NO_TLS, text)

    def _open_file(self, sop_class: UID, sop_instance: UID, transfer_syntax: UID, sender: str) -> IncomingFile:
        content = file_meta(sop_class, sop_instance, transfer_syntax, sender)
        return IncomingFile(self._config.incoming_folder, content, self._config.receive.maximum_object_megabytes << 20)

    def _takes_connection(self, address: str) -> bool:
        refused = admit_connection(address, len(self._entity.active_associations), self._config)
        if refused is not None:
            self._refusals.record(Association("", "", address), *refused)
        return refused is None

    def _on_requested(self, event: evt.Event) -> None:
        caller = _association(event.assoc)
        say_about(association=uuid.uuid4().hex[:12], sender=caller.calling_ae_title)
        with self._admission:  # of two that ask at the same moment, the second sees the first
            self._admitted = [other for other in self._admitted if _is_open(other)]
            others = [_association(other) for other in self._admitted]
            rejection = admit(caller, others, self._config, _addresses)
            if rejection is None:
                self._admitted.append(event.assoc)
        if rejection is not None:
            event.assoc.acse.send_reject(rejection.result, rejection.source, rejection.diagnostic)
            self._refusals.record(caller, rejection.reason, f"association rejected: {rejection.text}")

    def _on_accepted(self, event: evt.Event) -> None:
        rejected = {str(context.abstract_syntax) for context in event.assoc.rejected_contexts}
        if rejected:
            names = ", ".join(sorted(UID(uid).name for uid in rejected))
            text = f"not accepted, as class or in the syntaxes offered: {names}"
            self._refusals.record(_association(event.assoc), Reason.CONTEXT_NOT_ACCEPTED, text)

    def _on_closed(self, event: evt.Event) -> None:
        upper_layer: Any = event.assoc.dul
        if upper_layer.cut_off is not None:
            self._refusals.record(_association(event.assoc), *_CUT_OFF[upper_layer.cut_off])
        if self._transfers is not None:
            self._transfers.ended(event.assoc, in_order=event.assoc.is_released)
        log.debug("association ended")

    def _on_store(self, event: evt.Event) -> Dataset | int:
        association = _association(event.assoc)
        uid = _as_uid(getattr(event.request, "AffectedSOPInstanceUID", ""))
        file: Any = event.dataset_path
        try:
            if not isinstance(file, IncomingFile):
                raise Refused(Reason.DAMAGED, "the request carries no data set")
            if file.refusal is not None:
                raise file.refusal
            check_free_space(self._config)
            study = self._sink.accept(file.path, association)
        except Refused as error:
            refusal = error
        except Exception as error:
            log.exception("storing %s failed", uid)
            refusal = Refused(Reason.INTERNAL_ERROR, f"internal error ({type(error).__name__}), see the log")
        else:
            if self._transfers is not None:
                self._transfers.received(event.assoc, association.calling_ae_title, association.address, study)
            return SUCCESS
        finally:
            if isinstance(file, IncomingFile):
                file.discard()
        self._refusals.record(association, refusal.reason, refusal.text, uid)
        return _failure(refusal)


def _as_uid(value: object) -> str:
    """The UID of a request, for log and status page; what is none may be anything, a patient's name included."""
    text = str(value or "")
    return text if re.fullmatch(r"[0-9.]{1,64}", text) else "an object without valid UID"


def _association(association: DicomAssociation) -> Association:
    requestor = association.requestor
    return Association(
        calling_ae_title=str(getattr(requestor.primitive, "calling_ae_title", "") or "").strip(),
        called_ae_title=str(getattr(requestor.primitive, "called_ae_title", "") or "").strip(),
        address=str(requestor.address or ""),
    )


def _is_open(association: DicomAssociation) -> bool:
    return association.is_alive() and not (association.is_released or association.is_aborted)


def _addresses(host: str) -> set[str]:
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except OSError:
        log.warning("the address of %s is unknown", host)
        return set()


def _failure(refusal: Refused) -> Dataset:
    response = Dataset()
    response.Status = int(refusal.status)
    response.ErrorComment = refusal.text[:64]
    return response
