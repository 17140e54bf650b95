"""What a destination's answer means, and how long to wait before the next attempt: decisions, no network."""

from __future__ import annotations

from dicom_node.config import DeliverSection
from dicom_node.domain import DeliveryAttempt, DeliveryState

_WORDS = {
    0x0110: "processing failure",
    0x0111: "already held",
    0x0117: "invalid SOP instance",
    0x0122: "SOP class not supported",
    0x0124: "not authorised",
    0x0210: "duplicate invocation",
    0x0211: "unrecognised operation",
    0x0212: "mistyped argument",
    0xB000: "coercion of data elements",
    0xB006: "elements discarded",
    0xB007: "data set does not match SOP class",
}
_PERMANENT = frozenset({0x0117, 0x0122, 0x0124, 0x0211, 0x0212})


def status_in_words(status: int) -> str:
    """A C-STORE status (PS3.4 B.2.3, PS3.7 C) in words, with its number."""
    if status in _WORDS:
        words = _WORDS[status]
    elif status >> 8 == 0xA7:
        words = "out of resources"
    elif status >> 8 == 0xA9:
        words = "data set does not match SOP class"
    elif status >> 12 == 0xC:
        words = "cannot understand"
    else:
        words = "unknown status"
    return f"{words} (0x{status:04X})"


def judge(status: int | None, comment: str = "") -> DeliveryAttempt:
    """What to do after the peer's C-STORE response; ``status`` is None where none came.

    Success and warnings mean that the peer has the object. Out of resources and processing failures may pass. What
    is wrong with the object itself stays wrong: it is parked with the peer's words.
    """
    if status is None:
        return DeliveryAttempt(DeliveryState.RETRYING, "no answer: connection lost, aborted or timed out")
    if status == 0x0000:
        return DeliveryAttempt(DeliveryState.DELIVERED, "accepted", status)
    words = status_in_words(status) + (f": {comment}" if comment else "")
    if status == 0x0111 or status >> 12 == 0xB or status == 0x0001:
        return DeliveryAttempt(DeliveryState.DELIVERED, f"accepted with a warning: {words}", status)
    if status in _PERMANENT or status >> 8 == 0xA9 or status >> 12 == 0xC:
        return DeliveryAttempt(DeliveryState.PARKED, f"refused for good: {words}", status)
    return DeliveryAttempt(DeliveryState.RETRYING, f"refused for now: {words}", status)


def retry_delay(attempts: int, settings: DeliverSection, jitter: float) -> float:
    """Seconds to wait after so many failed ``attempts``: doubling, capped, spread by ``jitter`` (0 to 1) ±20 %."""
    doubled = settings.first_retry_seconds * 2.0 ** min(attempts - 1, 32)
    return min(doubled, settings.maximum_retry_seconds) * (0.8 + 0.4 * jitter)
