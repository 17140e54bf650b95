"""Why an object or an association was refused: C-STORE statuses and the words that go with them."""

from __future__ import annotations

from enum import IntEnum


class StoreStatus(IntEnum):
    """C-STORE failure statuses (PS3.4 B.2.3)."""

    OUT_OF_RESOURCES = 0xA700
    DATA_SET_DOES_NOT_MATCH_SOP_CLASS = 0xA900
    CANNOT_UNDERSTAND = 0xC000


class Refused(Exception):
    """An object was not stored.

    ``status`` goes back to the sender; the text, without patient data, to the sender (first 64 characters,
    as Error Comment) and to the status page.
    """

    def __init__(self, status: StoreStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
