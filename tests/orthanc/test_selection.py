"""Which series of a study are sent."""

from __future__ import annotations

import re

import pytest
from node_routing.selection import MANUFACTURER, Series, Study, select_by_hand, select_by_rules
from node_routing.settings import Rule

from dicom_node import domain

CT = Rule(frozenset({"CT"}), {})
CHEST = Rule(frozenset({"CT"}), {"StudyDescription": re.compile("(?i)chest"), "SeriesDescription": re.compile("lung")})


def series(name: str, modality: str = "CT", instances: int = 2, **tags: str) -> Series:
    return Series(name, {"Modality": modality, **tags}, tuple(f"{name}-{number}" for number in range(instances)))


def study(*content: Series, **tags: str) -> Study:
    return Study("study", "1.2.3", True, tags, content, {})


def test_the_plugin_knows_the_nodes_manufacturer() -> None:
    assert MANUFACTURER == domain.MANUFACTURER


def test_series_of_the_asked_modality_are_sent_and_no_others() -> None:
    selection = select_by_rules(study(series("b"), series("a"), series("pt", "PT")), [CT])

    assert selection.series == ("a", "b")
    assert selection.images == 4


def test_every_tag_of_a_rule_must_match() -> None:
    content = (series("lung", SeriesDescription="lung 1.0"), series("bone", SeriesDescription="bone 1.0"))

    assert select_by_rules(study(*content, StudyDescription="CT Chest"), [CHEST]).series == ("lung",)
    assert select_by_rules(study(*content, StudyDescription="CT Head"), [CHEST]).series == ()


def test_one_matching_rule_is_enough() -> None:
    assert select_by_rules(study(series("a")), [CHEST, CT]).series == ("a",)


@pytest.mark.parametrize("choose", [lambda held: select_by_rules(held, [CT]), select_by_hand])
def test_the_nodes_own_results_are_never_sent(choose) -> None:
    own = series("own", Manufacturer="dicom-node ")

    assert choose(study(own)).series == ()
    assert choose(study(series("a"), own)) == choose(study(series("a")))


def test_by_hand_every_series_of_images_is_sent() -> None:
    assert select_by_hand(study(series("mr", "MR"), series("sr", "SR"), series("pr", "PR"))).series == ("mr",)


def test_one_more_image_is_another_question() -> None:
    before, after = (select_by_rules(study(series("a", instances=number)), [CT]) for number in (2, 3))

    assert before.digest != after.digest
