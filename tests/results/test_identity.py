from __future__ import annotations

from dataclasses import replace

import pytest
from pydicom.uid import UID

from dicom_node.domain import ModelIdentity, ResultKind
from dicom_node.results.identity import ResultIdentity, device_uid, input_digest

MODEL = ModelIdentity("chest_xray", "1.0.0", "ab" * 32)
IDENTITY = ResultIdentity("1.2.3", "d" * 64, MODEL, "1.2.4")
SR = ResultKind.STRUCTURED_REPORT


def test_input_digest_depends_on_which_instances_not_on_their_order() -> None:
    assert input_digest(["1.2", "1.10", "1.2"]) == input_digest(["1.10", "1.2"])
    assert input_digest(["1.2", "1.10"]) != input_digest(["1.2", "1.10", "1.3"])


def test_the_same_question_has_the_same_uids() -> None:
    again = ResultIdentity("1.2.3", "d" * 64, ModelIdentity("chest_xray", "1.0.0", "ab" * 32), "1.2.4")
    assert again.sop_instance_uid(SR) == IDENTITY.sop_instance_uid(SR)
    assert again.result_series_uid(SR) == IDENTITY.result_series_uid(SR)
    assert again.tracking_uid(1) == IDENTITY.tracking_uid(1)


def test_uids_of_a_released_version_never_change() -> None:
    # A changed derivation would send every study's results to the PACS a second time.
    assert IDENTITY.sop_instance_uid(SR) == "2.25.185977248109380000955175014993963927031"
    assert device_uid(MODEL) == "2.25.114065772881540693290333900499623085770"


@pytest.mark.parametrize(
    "other",
    [
        replace(IDENTITY, study_instance_uid="1.2.5"),
        replace(IDENTITY, input_digest="e" * 64),
        replace(IDENTITY, model=replace(MODEL, name="kidney_ct")),
        replace(IDENTITY, model=replace(MODEL, version="1.0.1")),
        replace(IDENTITY, model=replace(MODEL, weights_digest="cd" * 32)),
        replace(IDENTITY, series_instance_uid="1.2.6"),
        replace(IDENTITY, stack_number=2),
        replace(IDENTITY, variant="series 17"),
    ],
)
def test_any_other_question_has_other_uids(other: ResultIdentity) -> None:
    assert other.sop_instance_uid(SR) != IDENTITY.sop_instance_uid(SR)
    assert other.result_series_uid(SR) != IDENTITY.result_series_uid(SR)
    assert other.tracking_uid(1) != IDENTITY.tracking_uid(1)


def test_kinds_findings_and_purposes_do_not_share_uids() -> None:
    uids = [
        *(IDENTITY.sop_instance_uid(kind, number) for kind in ResultKind for number in (0, 1, 2)),
        *(IDENTITY.result_series_uid(kind) for kind in ResultKind),
        *(IDENTITY.tracking_uid(number) for number in (0, 1, 2)),
    ]
    assert len(set(uids)) == len(uids)
    assert all(UID(uid).is_valid and uid.startswith("2.25.") for uid in uids)


def test_new_weights_are_a_new_device() -> None:
    assert device_uid(MODEL) != device_uid(replace(MODEL, weights_digest="cd" * 32))
    assert device_uid(MODEL) == device_uid(replace(MODEL))
