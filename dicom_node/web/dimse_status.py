"""What a peer's answer to a C-STORE means, in plain words."""

from __future__ import annotations

_EXACT = {
    0x0000: "accepted",
    0x0110: "the peer failed while processing the object",
    0x0111: "the peer already holds an object with this UID",
    0x0117: "the peer finds the object invalid",
    0x0122: "the peer does not take this kind of object",
    0x0124: "the peer does not allow the node to store",
    0xB000: "accepted, but the peer changed some elements",
    0xB006: "accepted, but the peer dropped some elements",
    0xB007: "accepted, but the peer finds that the data set does not match its SOP class",
}
"""General statuses (PS3.7 Annex C) and the warnings of the Storage Service Class (PS3.4 B.2.3)."""

_BY_FIRST_BYTE = {
    0xA7: "the peer is out of resources, often a full disk",
    0xA9: "the peer finds that the data set does not match its SOP class",
}


def status_in_words(status: int | None) -> str:
    """The status of the last answer in words, "no answer" where the peer was not reached."""
    if status is None:
        return "no answer"
    words = _EXACT.get(status) or _BY_FIRST_BYTE.get(status >> 8)
    if words is None:
        words = "the peer cannot understand the object" if status >> 12 == 0xC else "a status only the peer explains"
    return f"{words} (0x{status:04X})"
