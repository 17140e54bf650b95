"""The explicit release of a study: a router that knows it is complete says so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dicom_node.database import Database, EventRow, StudyRow
from dicom_node.domain import StudyState


class UnknownStudy(Exception):
    """The node holds no study with this UID."""


class NotReceiving(Exception):
    """The study cannot be released in its state; the text says why."""


@dataclass(frozen=True, slots=True)
class Release:
    """A study that was released, and when that was first said."""

    study_instance_uid: str
    state: StudyState
    released_at: datetime


def release_study(database: Database, study_instance_uid: str, at: datetime) -> Release:
    """Say that the study is complete; saying it again changes nothing, unless an image came in between.

    A release speaks of the images held when it is given: one that came later voids it.

    Raises:
        UnknownStudy: there is no such study.
        NotReceiving: the study is past receiving.
    """
    with database.session.begin() as session:
        study = session.get(StudyRow, study_instance_uid, with_for_update=True)
        if study is None:
            raise UnknownStudy(study_instance_uid)
        if study.state is not StudyState.RECEIVING:
            raise NotReceiving(
                f"The study is {study.state}, not receiving: its analysis was started with the images held then. "
                "Images that arrive from now on start a new analysis, which can be released again."
            )
        if study.released_at is None or study.released_at < study.last_received_at:
            study.released_at = at
            session.add(
                EventRow(
                    study_instance_uid=study_instance_uid,
                    at=at,
                    text="Released through the API as complete, without waiting for the quiet period.",
                )
            )
        return Release(study_instance_uid, study.state, study.released_at)
