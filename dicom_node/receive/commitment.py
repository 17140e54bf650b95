"""Storage Commitment Push Model at the receiver: requests of peers (N-ACTION) and their reports (N-EVENT-REPORT).

PS3.4 Annex J. The receiver only takes both down; the worker answers and sends again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

from pydicom import Dataset
from pynetdicom import evt

from dicom_node.part10 import BROKEN

log = logging.getLogger(__name__)

_REQUEST_STORAGE_COMMITMENT = 1
_SUCCESS, _FAILURES_EXIST = 1, 2

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
NO_SUCH_INSTANCE = 0x0112
NO_SUCH_EVENT_TYPE = 0x0113
INVALID_ARGUMENT = 0x0115
NO_SUCH_ACTION = 0x0123
NOT_AUTHORISED = 0x0124


class UnknownPeer(Exception):
    """The peer is not configured, so that there is no address to which its answer could go."""


class CommitmentRegister(Protocol):
    """Where requests and reports are written down."""

    def request(self, calling_ae_title: str, transaction_uid: str, instances: Sequence[tuple[str, str]]) -> None:
        """Keep a request for pairs of SOP Class and SOP Instance UID; it is durable on return.

        Raises:
            UnknownPeer: nobody is configured under this AE title.
        """

    def report(self, transaction_uid: str, committed: Sequence[str], failed: Mapping[str, int]) -> None:
        """Keep what a destination says of a transaction: UIDs it took responsibility for, and failure reasons."""


def on_action(event: evt.Event, register: CommitmentRegister) -> tuple[int, None]:
    """Answer N-ACTION: success once the request is kept."""
    if event.action_type != _REQUEST_STORAGE_COMMITMENT:
        return NO_SUCH_ACTION, None
    try:
        information = event.action_information
        transaction_uid = str(information.TransactionUID)
        instances = [_reference(item) for item in information.ReferencedSOPSequence]
    except BROKEN:
        return INVALID_ARGUMENT, None
    if not transaction_uid or len(transaction_uid) > 64 or not instances:
        return INVALID_ARGUMENT, None
    try:
        register.request(str(event.assoc.requestor.ae_title or "").strip(), transaction_uid, instances)
    except UnknownPeer:
        return NOT_AUTHORISED, None
    except Exception:
        log.exception("a request for storage commitment could not be kept")
        return PROCESSING_FAILURE, None
    return SUCCESS, None


def on_event_report(event: evt.Event, register: CommitmentRegister) -> tuple[int, None]:
    """Answer N-EVENT-REPORT: success once the report is kept."""
    if event.event_type not in (_SUCCESS, _FAILURES_EXIST):
        return NO_SUCH_EVENT_TYPE, None
    try:
        information = event.event_information
        transaction_uid = str(information.TransactionUID)
        committed = [_reference(item)[1] for item in information.get("ReferencedSOPSequence") or ()]
        failed = {
            _reference(item)[1]: int(item.get("FailureReason") or NO_SUCH_INSTANCE)
            for item in information.get("FailedSOPSequence") or ()
        }
    except BROKEN:
        return INVALID_ARGUMENT, None
    try:
        register.report(transaction_uid, committed, failed)
    except Exception:
        log.exception("a report on storage commitment could not be kept")
        return PROCESSING_FAILURE, None
    return SUCCESS, None


def _reference(item: Dataset) -> tuple[str, str]:
    return str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID)
