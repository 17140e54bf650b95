"""Studies from a real Orthanc with the plugin to a stand-in for the node."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from node_routing.history import SETTLING_MARGIN
from pydicom.dataset import Dataset

from tests.orthanc.peers import (
    STABLE_AGE,
    ListeningNode,
    RoutingOrthanc,
    more_images,
    result_of,
    tiny_study,
    wait_until,
)

ENDED = "not applicable"  # what the stand-in makes of every study


@pytest.fixture(autouse=True)
def _as_it_was(node: ListeningNode, orthanc: RoutingOrthanc) -> Iterator[None]:
    """Both peers run and are quick before each test, whatever the one before did to them."""
    yield
    node.seconds_per_image = node.seconds_per_request = 0.0
    node.start()


def test_a_stable_study_is_sent_whole_and_then_released(node: ListeningNode, orthanc: RoutingOrthanc) -> None:
    study = tiny_study(images=3)

    identifier = orthanc.upload(study)
    orthanc.await_state(identifier, ENDED)

    assert node.released_with(study) == [3]
    shown = orthanc.client.get(f"/dicom-node/studies/{identifier}").json()
    assert shown["State"] == ENDED
    assert shown["Answer"] == "It is a test."
    assert shown["Images"] == 3
    assert shown["StatusPage"] == f"{node.url}/studies/{study[0].StudyInstanceUID}"


def test_a_study_that_no_rule_asks_for_is_sent_by_hand_only(node: ListeningNode, orthanc: RoutingOrthanc) -> None:
    study, wanted = tiny_study(modality="MR"), tiny_study()
    identifier = orthanc.upload(study)
    orthanc.upload(wanted)
    node.await_releases(wanted, [2])
    assert node.released_with(study) == []
    assert orthanc.state(identifier) == ""

    answer = orthanc.client.post(f"/dicom-node/studies/{identifier}/send")

    assert answer.json()["State"] == "asked for"
    node.await_releases(study, [2])


def test_late_images_are_sent_and_released_again(node: ListeningNode, orthanc: RoutingOrthanc) -> None:
    study = tiny_study()
    identifier = orthanc.upload(study)
    node.await_releases(study, [2])

    orthanc.upload(more_images(study))

    node.await_releases(study, [2, 3])
    orthanc.await_state(identifier, ENDED)


def test_results_are_marked_and_make_nothing_loop(node: ListeningNode, orthanc: RoutingOrthanc) -> None:
    study = tiny_study()
    identifier = orthanc.upload(study)
    orthanc.await_state(identifier, ENDED)
    stores = node.stores

    orthanc.upload(result_of(study))
    wait_until(lambda: marked(orthanc, identifier), lambda: "no series is marked as an AI result")
    orthanc.upload(another := tiny_study(images=1))
    node.await_releases(another, [1])  # whatever was to be sent before it has been

    assert node.released_with(study) == [2]
    assert node.stores == stores + 1
    assert marked(orthanc, identifier) == ["dicom-node"]


def test_a_study_of_results_only_cannot_be_sent_by_hand(node: ListeningNode, orthanc: RoutingOrthanc) -> None:
    results = result_of(tiny_study())
    identifier = orthanc.upload(results)

    orthanc.client.post(f"/dicom-node/studies/{identifier}/send")

    orthanc.await_state(identifier, "failed")
    assert node.released_with(results) == []
    assert "own results" in orthanc.client.get(f"/dicom-node/studies/{identifier}").json()["Answer"]


def test_twenty_studies_at_once_all_arrive_once(node: ListeningNode, orthanc: RoutingOrthanc) -> None:
    studies = [tiny_study() for _ in range(20)]

    identifiers = [orthanc.upload(study) for study in studies]

    for identifier in identifiers:
        orthanc.await_state(identifier, ENDED)
    assert [node.released_with(study) for study in studies] == [[2]] * 20


def test_studies_wait_for_a_node_that_is_down(node: ListeningNode, orthanc: RoutingOrthanc) -> None:
    node.stop()
    studies = [tiny_study() for _ in range(3)]
    identifiers = [orthanc.upload(study) for study in studies]
    wait_until(lambda: all(map(orthanc.state, identifiers)), lambda: "not every study was noticed")
    wait_until(lambda: max(map(orthanc.attempts, identifiers)) >= 2, lambda: "nothing was tried twice")
    assert {orthanc.state(identifier) for identifier in identifiers} <= {"waiting", "sending"}

    node.start()

    for study in studies:
        node.await_releases(study, [2])


def test_a_restart_while_the_node_is_down_keeps_the_studies(node: ListeningNode, orthanc: RoutingOrthanc) -> None:
    node.stop()
    study = tiny_study()
    identifier = orthanc.upload(study)
    wait_until(lambda: orthanc.attempts(identifier), lambda: "nothing was tried")

    orthanc.stop()
    orthanc.start()
    node.start()

    node.await_releases(study, [2])


def test_a_kill_while_a_job_sends_loses_no_image(node: ListeningNode, orthanc: RoutingOrthanc) -> None:
    study = tiny_study(images=6)
    node.seconds_per_image = 0.5
    identifier = orthanc.upload(study)
    wait_until(lambda: held(node, study), lambda: "no image has arrived")

    orthanc.kill()
    assert held(node, study) < 6
    node.seconds_per_image = 0.0
    orthanc.start()

    orthanc.await_state(identifier, ENDED)
    assert node.released_with(study)[-1] == 6


def test_a_kill_before_studies_are_stable_does_not_forget_them(node: ListeningNode, orthanc: RoutingOrthanc) -> None:
    older, old, newer, new = (tiny_study() for _ in range(4))
    for study in (older, old):
        orthanc.await_state(orthanc.upload(study), ENDED)
    time.sleep((SETTLING_MARGIN + STABLE_AGE).total_seconds())
    orthanc.await_state(orthanc.upload(newer), ENDED)  # from now on the log is read again from after the oldest

    orthanc.upload(more_images(older))
    orthanc.upload(new)
    orthanc.kill()
    assert (node.released_with(older), node.released_with(new)) == ([2], [])
    orthanc.start()

    node.await_releases(older, [2, 3])
    node.await_releases(new, [2])
    assert node.released_with(old) == [2]


def test_kills_at_any_moment_lose_no_study(node: ListeningNode, orthanc: RoutingOrthanc) -> None:
    node.seconds_per_image = 0.1
    studies = [tiny_study() for _ in range(8)]
    identifiers = [orthanc.upload(study) for study in studies]

    for seconds in (1.5, 0.6, 0.3):
        time.sleep(seconds)
        orthanc.kill()
        orthanc.start()

    for identifier in identifiers:
        orthanc.await_state(identifier, ENDED)
    assert all(2 in node.released_with(study) for study in studies)


def test_a_study_deleted_while_it_waits_holds_nothing_up(node: ListeningNode, orthanc: RoutingOrthanc) -> None:
    node.stop()
    identifier = orthanc.upload(tiny_study())
    wait_until(lambda: orthanc.attempts(identifier), lambda: "nothing was tried")

    orthanc.client.delete(f"/studies/{identifier}").raise_for_status()
    node.start()

    orthanc.upload(another := tiny_study())
    node.await_releases(another, [2])
    assert orthanc.client.get(f"/dicom-node/studies/{identifier}").status_code == 404


def test_orthanc_answers_while_the_node_does_not(node: ListeningNode, orthanc: RoutingOrthanc) -> None:
    study = tiny_study()
    node.seconds_per_request = 3.0
    identifier = orthanc.upload(study)
    orthanc.await_state(identifier, "sent")

    slowest = 0.0
    while orthanc.state(identifier) == "sent":
        started = time.monotonic()
        orthanc.client.get(f"/dicom-node/studies/{identifier}").raise_for_status()
        slowest = max(slowest, time.monotonic() - started)

    assert slowest < 1.0
    assert node.released_with(study) == [2]


def held(node: ListeningNode, study: list[Dataset]) -> int:
    """How many images of the study have reached the node."""
    return len(node.images.get(study[0].StudyInstanceUID, ()))


def marked(orthanc: RoutingOrthanc, identifier: str) -> list[str]:
    """The manufacturers of the series of a study that are marked as results."""
    return [
        series["MainDicomTags"]["Manufacturer"]
        for series in orthanc.client.get(f"/studies/{identifier}/series").json()
        if "AiResult" in orthanc.client.get(f"/series/{series['ID']}/metadata").json()
    ]
