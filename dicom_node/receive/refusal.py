"""Why an object or an association was refused: reasons, the C-STORE statuses that answer them, and words."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class StoreStatus(IntEnum):
    """C-STORE failure statuses (PS3.4 B.2.3), and those that STOW-RS has beside them (PS3.18 I.2.2)."""

    OUT_OF_RESOURCES = 0xA700
    DATA_SET_DOES_NOT_MATCH_SOP_CLASS = 0xA900
    CANNOT_UNDERSTAND = 0xC000
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    TRANSFER_SYNTAX_NOT_SUPPORTED = 0xC122


class Reason(StrEnum):
    """What something was refused for. The values are kept in the database and name a remedy on the status page."""

    FOREIGN_ADDRESS = "foreign-address"
    UNLISTED_SENDER = "unlisted-sender"
    WRONG_HOST = "wrong-host"
    WRONG_CALLED_AE_TITLE = "wrong-called-ae-title"
    TOO_MANY_ASSOCIATIONS = "too-many-associations"
    TOO_MANY_OF_ONE_PEER = "too-many-associations-of-one-peer"
    NO_TLS = "no-tls"
    CONTEXT_NOT_ACCEPTED = "context-not-accepted"
    PDU_TOO_LONG = "pdu-too-long"
    SENDER_SILENT = "sender-silent"

    DISK_FULL = "disk-full"
    STORE_FAILED = "store-failed"
    INDEX_FAILED = "index-failed"
    OBJECT_TOO_LARGE = "object-too-large"
    DOES_NOT_MATCH = "does-not-match"
    DAMAGED = "damaged"
    UID_CONFLICT = "uid-conflict"
    INTERNAL_ERROR = "internal-error"
    SOP_CLASS_NOT_ACCEPTED = "sop-class-not-accepted"
    SYNTAX_NOT_ACCEPTED = "transfer-syntax-not-accepted"

    @property
    def status(self) -> StoreStatus | None:
        """The status that the sender of an object is answered; None where an association was refused."""
        return _STATUSES.get(self)


_STATUSES = {
    Reason.DISK_FULL: StoreStatus.OUT_OF_RESOURCES,
    Reason.STORE_FAILED: StoreStatus.OUT_OF_RESOURCES,
    Reason.INDEX_FAILED: StoreStatus.OUT_OF_RESOURCES,
    Reason.OBJECT_TOO_LARGE: StoreStatus.OUT_OF_RESOURCES,
    Reason.DOES_NOT_MATCH: StoreStatus.DATA_SET_DOES_NOT_MATCH_SOP_CLASS,
    Reason.DAMAGED: StoreStatus.CANNOT_UNDERSTAND,
    Reason.UID_CONFLICT: StoreStatus.CANNOT_UNDERSTAND,
    Reason.INTERNAL_ERROR: StoreStatus.CANNOT_UNDERSTAND,
    Reason.SOP_CLASS_NOT_ACCEPTED: StoreStatus.SOP_CLASS_NOT_SUPPORTED,
    Reason.SYNTAX_NOT_ACCEPTED: StoreStatus.TRANSFER_SYNTAX_NOT_SUPPORTED,
}


class Refused(Exception):
    """An object was not stored.

    The text, without patient data, goes to the sender (first 64 characters, as Error Comment) and to the status page.
    """

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text

    @property
    def status(self) -> StoreStatus:
        """What the sender is answered."""
        return self.reason.status or StoreStatus.CANNOT_UNDERSTAND
