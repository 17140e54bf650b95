"""What a destination's answer means."""

import pytest

from dicom_node.config import DeliverSection
from dicom_node.deliver.outcome import judge, retry_delay
from dicom_node.domain import DeliveryState


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (0x0000, DeliveryState.DELIVERED),
        (0xB000, DeliveryState.DELIVERED),
        (0xB006, DeliveryState.DELIVERED),
        (0xB007, DeliveryState.DELIVERED),
        (0x0111, DeliveryState.DELIVERED),
        (0xA700, DeliveryState.RETRYING),
        (0xA702, DeliveryState.RETRYING),
        (0x0110, DeliveryState.RETRYING),
        (None, DeliveryState.RETRYING),
        (0xFFFF, DeliveryState.RETRYING),
        (0xA900, DeliveryState.PARKED),
        (0xC000, DeliveryState.PARKED),
        (0xCFFF, DeliveryState.PARKED),
        (0x0122, DeliveryState.PARKED),
        (0x0124, DeliveryState.PARKED),
    ],
)
def test_each_status_has_its_outcome(status: int | None, state: DeliveryState) -> None:
    assert judge(status).state is state


def test_a_refusal_keeps_the_words_of_the_peer() -> None:
    attempt = judge(0xC001, "no such patient class")

    assert attempt.message == "refused for good: cannot understand (0xC001): no such patient class"


def test_a_warning_says_so() -> None:
    assert judge(0xB000).message == "accepted with a warning: coercion of data elements (0xB000)"


def test_the_delay_doubles_up_to_its_cap() -> None:
    settings = DeliverSection(first_retry_seconds=5, maximum_retry_seconds=600)

    delays = [retry_delay(attempts, settings, jitter=0.5) for attempts in (1, 2, 3, 7, 8, 1000)]

    assert delays == [5, 10, 20, 320, 600, 600]


def test_jitter_spreads_the_delay_by_a_fifth_each_way() -> None:
    settings = DeliverSection(first_retry_seconds=10, maximum_retry_seconds=600)

    assert retry_delay(1, settings, 0.0) == pytest.approx(8)
    assert retry_delay(1, settings, 1.0) == pytest.approx(12)
