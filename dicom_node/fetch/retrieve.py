"""The query/retrieve SCU: C-FIND, and the images by C-MOVE to the node's receiver or by C-GET into its archive."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.presentation import PresentationContext

from dicom_node.config import ConfigurationError, Peer
from dicom_node.deliver.outcome import status_in_words
from dicom_node.deliver.sender import why_not_established
from dicom_node.domain import Association
from dicom_node.receive.contexts import ANALYSABLE_SOP_CLASSES, TRANSFER_SYNTAXES
from dicom_node.receive.refusal import Refused
from dicom_node.tls import caller_context
from dicom_node.transport import GET_STUDIES, MOVE_STUDIES, QUERY_STUDIES, associate, identify

_PENDING = (0xFF00, 0xFF01)
_NUMBERS = itertools.count()
_MOVE_DESTINATION_UNKNOWN = 0xA801

Keep = Callable[[Path, Association], object]
"""Keeps the file of an instance and indexes it, as ``Archive.accept`` does; raises ``Refused``."""


class FetchError(Exception):
    """The peer could not be asked, or did not do as asked; the text says what to check."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a peer says of a retrieval: images that came, and images that did not."""

    completed: int
    failed: int


class Retriever:
    """Asks peers for studies, under the node's AE title; one association a call."""

    def __init__(self, ae_title: str, timeout_seconds: float) -> None:
        self._ae_title = ae_title
        self._entity = AE(ae_title)
        identify(self._entity)
        self._entity.acse_timeout = self._entity.connection_timeout = timeout_seconds
        # The peer may read from tape before it answers, and answers each image of a study by itself.
        self._entity.dimse_timeout = self._entity.network_timeout = 10 * timeout_seconds
        self._entity.maximum_pdu_size = 131072

    def find(self, peer: Peer, identifier: Dataset) -> list[Dataset]:
        """The studies that match (C-FIND, PS3.4 C.4.1).

        Raises:
            FetchError: the peer cannot be reached, or refuses.
        """
        model = QUERY_STUDIES
        with _Associated(self._entity, peer, [build_context(model)]) as association:
            found = []
            for status, match in association.send_c_find(identifier, model):
                _check(status, peer, "C-FIND")
                if status.Status in _PENDING and match is not None:
                    found.append(match)
            return found

    def move(self, peer: Peer, study_instance_uid: str) -> Fetched:
        """Let the peer send a study to this node's receiver (C-MOVE, PS3.4 C.4.2), which the peer must know.

        Raises:
            FetchError: the peer cannot be reached, or refuses.
        """
        model = MOVE_STUDIES
        with _Associated(self._entity, peer, [build_context(model)]) as association:
            responses = association.send_c_move(_study(study_instance_uid), self._ae_title, model)
            return self._last(responses, peer, "C-MOVE")

    def get(self, peer: Peer, study_instance_uid: str, folder: Path, keep: Keep) -> Fetched:
        """Receive a study on this association (C-GET, PS3.4 C.4.3); ``keep`` takes each file from ``folder``.

        Raises:
            FetchError: the peer cannot be reached, or refuses.
        """

        def store(event: evt.Event) -> int:
            path = folder / f"{socket.gethostname()}-{os.getpid()}-get{next(_NUMBERS)}.dcm"
            try:
                path.write_bytes(event.encoded_dataset())
                keep(path, Association(peer.ae_title, self._ae_title, peer.host))
            except Refused as refused:
                return int(refused.status)
            except OSError:
                return 0xA700
            finally:
                path.unlink(missing_ok=True)
            return 0x0000

        model = GET_STUDIES
        contexts = [build_context(model)] + [
            build_context(sop_class, list(TRANSFER_SYNTAXES)) for sop_class in ANALYSABLE_SOP_CLASSES
        ]
        roles = [build_role(sop_class, scp_role=True) for sop_class in ANALYSABLE_SOP_CLASSES]
        handlers = [(evt.EVT_C_STORE, store)]
        with _Associated(self._entity, peer, contexts, handlers, roles) as association:
            return self._last(association.send_c_get(_study(study_instance_uid), model), peer, "C-GET")

    @staticmethod
    def _last(responses: Any, peer: Peer, service: str) -> Fetched:
        completed = failed = 0
        for status, _ in responses:
            _check(status, peer, service)
            completed = int(status.get("NumberOfCompletedSuboperations") or completed)
            failed = int(status.get("NumberOfFailedSuboperations") or failed)
        return Fetched(completed, failed)


class _Associated:
    """An association that is released at the end, or the reason why there is none."""

    def __init__(
        self,
        entity: AE,
        peer: Peer,
        contexts: list[PresentationContext],
        handlers: Sequence[Any] = (),
        roles: Sequence[Any] = (),
    ) -> None:
        try:
            tls = (caller_context(peer.tls), peer.host) if peer.tls else None
        except ConfigurationError as error:
            raise FetchError(str(error)) from error
        self._peer = peer
        self._association: Any = associate(
            entity,
            peer.host,
            peer.port,
            contexts=contexts,
            ae_title=peer.ae_title,
            max_pdu=entity.maximum_pdu_size,
            evt_handlers=handlers,
            ext_neg=list(roles),
            tls_args=tls,
        )

    def __enter__(self) -> Any:
        if not self._association.is_established:
            raise FetchError(why_not_established(self._association, self._peer))
        if not self._association.accepted_contexts:
            raise FetchError(f"{self._peer.ae_title} takes no query or retrieval from this node")
        return self._association

    def __exit__(self, *_: object) -> None:
        if self._association.is_established:
            self._association.release()


def _study(study_instance_uid: str) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    identifier.StudyInstanceUID = study_instance_uid
    return identifier


def _check(status: Dataset, peer: Peer, service: str) -> None:
    """Raises FetchError for a failure (PS3.4 C.4); some images that failed (0xB000) are told by their number."""
    where = f"{peer.ae_title} at {peer.host}:{peer.port}"
    if "Status" not in status:
        raise FetchError(f"{where} ended {service} without an answer: see its log, and whether it knows this node")
    number = int(status.Status)
    if number == _MOVE_DESTINATION_UNKNOWN:
        raise FetchError(f"{where} does not know this node: enter its AE title, host and port there, or use C-GET")
    if number in (0x0000, *_PENDING) or number >> 12 == 0xB:
        return
    comment = f": {status.ErrorComment}" if "ErrorComment" in status else ""
    raise FetchError(f"{where} refused {service}: {status_in_words(number)}{comment}")
