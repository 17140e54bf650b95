from __future__ import annotations

import pytest
from pydicom import Dataset

from dicom_node.config import Config
from dicom_node.studies.urgency import urgent_because

EMERGENCY = {"name": "er", "ae_title": "ER_CT", "host": "er", "port": 104, "sends": True, "urgent": True}


def _header(**attributes: str) -> Dataset:
    header = Dataset()
    for keyword, value in attributes.items():
        setattr(header, keyword, value)
    return header


def test_a_study_waits_its_turn_unless_something_says_otherwise() -> None:
    assert urgent_because(Config(), "CT1", [_header(Modality="CT")]) is None


def test_what_an_urgent_peer_sends_is_urgent() -> None:
    config = Config.model_validate({"peers": [EMERGENCY]})

    assert urgent_because(config, "ER_CT", []) == "urgent, sent by er"
    assert urgent_because(config, "WARD_CT", []) is None


@pytest.mark.parametrize("keyword", ["RequestedProcedurePriority", "StudyPriorityID"])
def test_a_header_may_ask_for_it(keyword: str) -> None:
    routine, urgent = _header(**{keyword: "ROUTINE"}), _header(**{keyword: "STAT"})

    assert urgent_because(Config(), "CT1", [routine]) is None
    assert urgent_because(Config(), "CT1", [routine, urgent]) is not None


def test_a_site_has_conditions_of_its_own() -> None:
    rule = {"attribute": "StudyDescription", "matches": "(?i)stroke"}
    config = Config.model_validate({"worker": {"urgent": [rule]}})

    assert urgent_because(config, "CT1", [_header(StudyDescription="CT Stroke protocol")]) is not None
    assert urgent_because(config, "CT1", [_header(RequestedProcedurePriority="STAT")]) is None
