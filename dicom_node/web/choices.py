"""The actions that a study's page offers, in words: those that its present state allows."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_node.config import Config
from dicom_node.domain import DeliveryState
from dicom_node.web.actions import Action, Situation, why_not
from dicom_node.web.queries.study import StudyDetail


@dataclass(frozen=True, slots=True)
class Choice:
    """An action on offer, what it does, and the destinations to choose among, where it has one."""

    action: Action
    title: str
    what: str
    destinations: tuple[str, ...] = ()


def choices(study: StudyDetail, config: Config) -> tuple[Choice, ...]:
    """What can be done with a study now, what is most likely wanted first."""
    deliveries = [
        delivery for analysis in study.analyses for result in analysis.results for delivery in result.deliveries
    ]
    present = Situation(
        state=study.state,
        is_removed=study.removed_at is not None,
        results=len(study.analyses[0].results) if study.analyses else 0,
        deliveries=frozenset(delivery.state for delivery in deliveries),
    )
    failed = {
        delivery.destination
        for delivery in deliveries
        if delivery.state in (DeliveryState.RETRYING, DeliveryState.PARKED)
    }
    offered = (
        Choice(
            Action.RETRY,
            "Try delivery again",
            "Sends what was not accepted once more, at once, also what was refused for good.",
            tuple(sorted(failed)),
        ),
        Choice(Action.COMPLETE, "Complete now", "Begins the analysis without waiting for further images."),
        Choice(
            Action.SEND,
            "Send elsewhere",
            "Sends the result objects to a destination, also to one that has had them before.",
            tuple(peer.name for peer in config.destinations),
        ),
        Choice(
            Action.REANALYSE,
            "Analyse again",
            "Reads the images once more. The same model gives the same objects under the same UIDs, and a destination "
            "that holds them is not sent them again; another version of a model makes new ones.",
        ),
        Choice(
            Action.CANCEL,
            "Cancel",
            "Ends the study without further results. What is being read is read to its end first; nothing is sent.",
        ),
    )
    without = {Action.SEND} if not config.destinations else set()
    return tuple(
        choice for choice in offered if choice.action not in without and why_not(choice.action, present) is None
    )
