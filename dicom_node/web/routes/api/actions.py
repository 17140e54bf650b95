"""What may be done with a study, in the API: each with a reason, for operators, written to the audit trail."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, StringConstraints

from dicom_node.web.acting import Acting
from dicom_node.web.actions import MOST_REASON, Action, Taken
from dicom_node.web.dependencies import InstanceUid
from dicom_node.web.problems import PROBLEM_RESPONSES

router = APIRouter(prefix="/studies/{study_instance_uid}", tags=["actions"], responses=PROBLEM_RESPONSES)

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MOST_REASON)]


class Why(BaseModel):
    """The reason for an action; it stands on the study's timeline and in the audit trail. No patient data, please."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason


class Retry(Why):
    """Which delivery; all of the study's where no destination is named."""

    destination: str | None = None


class Send(Why):
    """Where to."""

    destination: str


@router.post("/complete", status_code=HTTPStatus.ACCEPTED)
def complete(acting: Acting, study_instance_uid: InstanceUid) -> Taken:
    """Say that every image of the study has been sent, so that analysis starts without the quiet period.

    Saying it again changes nothing. 409 when the study is not receiving.
    """
    return acting(Action.COMPLETE, study_instance_uid, "")


@router.post("/retry", status_code=HTTPStatus.ACCEPTED)
def retry(acting: Acting, study_instance_uid: InstanceUid, body: Retry) -> Taken:
    """Try failed deliveries now: those that wait for their next attempt, and those that were refused for good.

    409 when nothing failed.
    """
    return acting(Action.RETRY, study_instance_uid, body.reason, body.destination)


@router.post("/reanalyse", status_code=HTTPStatus.ACCEPTED)
def reanalyse(acting: Acting, study_instance_uid: InstanceUid, body: Why) -> Taken:
    """Analyse the images that are held once more.

    The same images read by the same model give the same objects under the same UIDs, and what a destination holds is
    not sent again; another version of a model makes new objects. 409 while the study is under way, or its images were
    removed.
    """
    return acting(Action.REANALYSE, study_instance_uid, body.reason)


@router.post("/send", status_code=HTTPStatus.ACCEPTED)
def send(acting: Acting, study_instance_uid: InstanceUid, body: Send) -> Taken:
    """Send the study's results to a configured destination, also to one that has had them before.

    409 while there is no final result, 422 when the destination is not configured.
    """
    return acting(Action.SEND, study_instance_uid, body.reason, body.destination)


@router.post("/cancel", status_code=HTTPStatus.ACCEPTED)
def cancel(acting: Acting, study_instance_uid: InstanceUid, body: Why) -> Taken:
    """End the study without (further) results; a series that is being read is read to its end first.

    409 when the study has ended already.
    """
    return acting(Action.CANCEL, study_instance_uid, body.reason)
