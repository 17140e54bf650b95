"""The storage SCU: files to a peer over one association, with an outcome for each."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pydicom
import pynetdicom
from pydicom import uid
from pydicom.errors import InvalidDicomError
from pynetdicom import AE, build_role, evt
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext, build_context

from dicom_node.config import ConfigurationError, Peer
from dicom_node.deliver.commitment import Answer, references
from dicom_node.deliver.outcome import judge, status_in_words
from dicom_node.domain import DeliveryAttempt, DeliveryState
from dicom_node.receive.commitment import CommitmentRegister, on_event_report
from dicom_node.tls import caller_context, try_handshake
from dicom_node.transport import (
    STORAGE_COMMITMENT,
    STORAGE_COMMITMENT_INSTANCE,
    VERIFICATION,
    associate,
    identify,
)

log = logging.getLogger(__name__)

_REPORT_SECONDS = 2.0  # how long an association is kept for a report that may come on it
_MAXIMUM_CONTEXTS = 128  # PS3.8 9.3.2.2: presentation context IDs are odd and fit a byte
_UNCOMPRESSED = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian)


class UnreadableFile(Exception):
    """A file to be sent is not DICOM; the text names it."""


class _NotAccepted(Exception):
    """The peer takes the file's SOP class in no syntax that the file can be sent in; the text names both."""


class Sender:
    """Opens one association a call; what was accepted is told file by file."""

    def __init__(self, calling_ae_title: str, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._entity = AE(ae_title=calling_ae_title)
        identify(self._entity)
        self._entity.acse_timeout = timeout_seconds
        self._entity.connection_timeout = timeout_seconds
        self._entity.dimse_timeout = timeout_seconds
        self._entity.network_timeout = timeout_seconds
        self._entity.maximum_pdu_size = 131072
        pynetdicom._config.STORE_SEND_CHUNKED_DATASET = True  # from the file to the socket, without decoding it

    def echo(self, peer: Peer) -> str | None:
        """C-ECHO; None when the peer answered success, else what went wrong and what to check."""
        try:
            association = self._associate(peer, [build_context(VERIFICATION)])
        except ConfigurationError as error:
            return str(error)
        try:
            if not association.is_established:
                return self._why_not_established(association, peer)
            status = association.send_c_echo()
            return None if "Status" in status and status.Status == 0 else "the peer answered C-ECHO with a failure"
        finally:
            _end(association)

    def request_commitment(
        self, peer: Peer, transaction_uid: str, instances: Sequence[tuple[str, str]], register: CommitmentRegister
    ) -> str | None:
        """Ask ``peer`` to commit instances (N-ACTION, PS3.4 J.3.2); what went wrong, None where it will report.

        A report that comes on the same association goes to ``register``; the receiver takes others.
        """
        reported = threading.Event()

        def report(event: evt.Event) -> tuple[int, None]:
            answer = on_event_report(event, register)
            reported.set()
            return answer

        handlers = [(evt.EVT_N_EVENT_REPORT, report)]
        try:
            association = self._associate(peer, [build_context(STORAGE_COMMITMENT)], handlers)
        except ConfigurationError as error:
            return str(error)
        try:
            if not association.is_established:
                return self._why_not_established(association, peer)
            information = references(transaction_uid, instances)
            response, _ = association.send_n_action(information, 1, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE)
            if "Status" not in response:
                return "no answer: connection lost, aborted or timed out"
            if response.Status != 0x0000:
                return f"refused: {status_in_words(response.Status)}"
            reported.wait(_REPORT_SECONDS)
            return None
        except (RuntimeError, ValueError) as error:  # the association ended meanwhile
            return f"the association ended ({type(error).__name__})"
        finally:
            _end(association)

    def report_commitment(self, peer: Peer, answer: Answer) -> str | None:
        """Tell ``peer`` what is held (N-EVENT-REPORT as SCP, PS3.4 J.3.3); what went wrong, None where it knows."""
        role = build_role(STORAGE_COMMITMENT, scp_role=True)
        try:
            association = self._associate(peer, [build_context(STORAGE_COMMITMENT)], [], [role])
        except ConfigurationError as error:
            return str(error)
        try:
            if not association.is_established:
                return self._why_not_established(association, peer)
            information = references(answer.transaction_uid, answer.committed, answer.failed)
            response, _ = association.send_n_event_report(
                information, 2 if answer.failed else 1, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE
            )
            if "Status" not in response:
                return "no answer: connection lost, aborted or timed out"
            return None if response.Status == 0x0000 else f"refused: {status_in_words(response.Status)}"
        except (RuntimeError, ValueError) as error:  # ended meanwhile, or the peer does not take the SCU role
            return f"the report could not be sent ({error})"
        finally:
            _end(association)

    def send(self, peer: Peer, paths: Sequence[Path]) -> Iterator[tuple[Path, DeliveryAttempt]]:
        """Send Part 10 files in the transfer syntax they have; yields each file's outcome as it is known.

        Raises:
            UnreadableFile: a file is not DICOM; nothing has been sent then.
        """
        contexts = _contexts(paths)
        try:
            association = self._associate(peer, contexts)
        except ConfigurationError as error:  # a certificate that is not there or has been exchanged for something else
            yield from _all_retrying(paths, str(error))
            return
        try:
            if not association.is_established:
                yield from _all_retrying(paths, self._why_not_established(association, peer))
                return
            for path in paths:
                yield path, self._store(association, path)
        finally:
            _end(association)

    def _associate(
        self,
        peer: Peer,
        contexts: list[PresentationContext],
        handlers: Sequence[Any] = (),
        roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
    ) -> Any:
        return associate(
            self._entity,
            peer.host,
            peer.port,
            contexts=contexts,
            ae_title=peer.ae_title,
            max_pdu=self._entity.maximum_pdu_size,
            evt_handlers=handlers,
            ext_neg=list(roles),
            tls_args=(caller_context(peer.tls), peer.host) if peer.tls else None,
        )

    def _why_not_established(self, association: Any, peer: Peer) -> str:
        """In words; a TLS handshake is tried again for its reason, which the library keeps to itself."""
        fault = try_handshake(peer, self._timeout_seconds) if association.acceptor.primitive is None else None
        where = f"{peer.ae_title} at {peer.host}:{peer.port}"
        return f"no TLS with {where}: {fault}" if fault else why_not_established(association, peer)

    def _store(self, association: Any, path: Path) -> DeliveryAttempt:
        if not association.is_established:
            return judge(None)
        try:
            response = _request(association, path)
        except _NotAccepted as error:
            return DeliveryAttempt(DeliveryState.PARKED, str(error))
        except RuntimeError:  # the association ended between our look and the request
            return judge(None)
        status = int(response.Status) if "Status" in response else None
        return judge(status, str(response.get("ErrorComment", "")))


def _all_retrying(paths: Sequence[Path], reason: str) -> Iterator[tuple[Path, DeliveryAttempt]]:
    for path in paths:
        yield path, DeliveryAttempt(DeliveryState.RETRYING, reason)


def _request(association: Any, path: Path) -> Any:
    """C-STORE of the file as it lies there, or converted where the peer has chosen the other uncompressed syntax."""
    try:
        return association.send_c_store(path)
    except ValueError:
        dataset = pydicom.dcmread(path)
    try:
        return association.send_c_store(dataset)
    except ValueError:
        name, syntax = uid.UID(dataset.SOPClassUID).name, dataset.file_meta.TransferSyntaxUID.name
        raise _NotAccepted(f"the peer does not accept {name} in {syntax}") from None


def is_dicom(path: Path) -> bool:
    """Whether the file carries the DICOM prefix (PS3.10 7.1)."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def why_not_established(association: Any, peer: Peer) -> str:
    """Why an association did not come about, in words with the thing to check."""
    where = f"{peer.ae_title} at {peer.host}:{peer.port}"
    if association.is_rejected:
        answer = association.acceptor.primitive
        reason = answer.reason_str if answer is not None else "no reason given"
        return f"{where} rejected the association ({reason}): check the AE titles on both sides"
    if association.acceptor.primitive is not None:
        return f"{where} accepts none of the SOP classes offered: check what it is allowed to store"
    return f"{where} cannot be reached, or ended the connection: check host, port, firewall and TLS"


def _contexts(paths: Sequence[Path]) -> list[PresentationContext]:
    """One presentation context for each SOP class and syntax; uncompressed syntaxes stand in for each other."""
    wanted: dict[tuple[str, tuple[str, ...]], PresentationContext] = {}
    for path in paths:
        try:
            meta = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
            sop_class, syntax = meta.SOPClassUID, meta.file_meta.TransferSyntaxUID
        except (InvalidDicomError, AttributeError, OSError) as error:
            raise UnreadableFile(f"{path}: not a DICOM file ({error})") from error
        syntaxes = tuple(_UNCOMPRESSED) if syntax in _UNCOMPRESSED else (syntax,)
        wanted.setdefault((sop_class, syntaxes), build_context(sop_class, list(syntaxes)))
    if len(wanted) > _MAXIMUM_CONTEXTS:
        raise UnreadableFile(f"more than {_MAXIMUM_CONTEXTS} kinds of object at once; send fewer files")
    return list(wanted.values())


def _end(association: Any) -> None:
    if association.is_established:
        association.release()
