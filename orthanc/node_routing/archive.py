"""What the router asks of Orthanc, through the REST API that the Python plugin offers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from node_routing.history import Change
from node_routing.record import Record
from node_routing.selection import Series, Study
from node_routing.settings import RECORD_METADATA, RESULT_METADATA, STATE_METADATA

WATERMARK_PROPERTY = 48010
"""Number of the global property that holds the watermark; plugins own those from 1024 on."""

RESULT_LABEL = "ai-result"
_PAGE = 500
_INEXISTENT_ITEM, _UNKNOWN_RESOURCE = 7, 17


class ArchiveError(Exception):
    """Orthanc refused a request; the text is Orthanc's."""


class NotInArchive(ArchiveError):
    """Orthanc does not hold, or no longer holds, what was asked for."""


class JobState(StrEnum):
    """How far a job is."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Job:
    """A job of Orthanc; ``error`` says in words why it failed."""

    state: JobState
    error: str = ""


class Archive:
    """Orthanc, as the module ``orthanc`` offers it to a plugin.

    The plugin holds Python's global lock during each request, so every request here is one that Orthanc answers
    at once: nothing that opens a network connection, reads pixels or waits for a job.
    """

    def __init__(self, orthanc: Any) -> None:
        self._orthanc = orthanc
        system = self._get("/system")
        version = system["Version"]
        self.needs_revisions: bool = system.get("CheckRevisions", False)
        self._has_labels = version == "mainline" or tuple(map(int, version.split(".")[:2])) >= (1, 12)

    def modalities(self) -> list[str]:
        """The symbolic names of the modalities that Orthanc can send to."""
        names: list[str] = self._get("/modalities")
        return names

    def watermark(self) -> int | None:
        """The number of the last change that needs no second look; None before the first."""
        text = self._orthanc.GetGlobalProperty(WATERMARK_PROPERTY, "")
        return int(text) if text.isdigit() else None

    def set_watermark(self, number: int) -> None:
        """Remember it across restarts."""
        self._orthanc.SetGlobalProperty(WATERMARK_PROPERTY, str(number))

    def last_change(self) -> int:
        """The number of the newest change."""
        number: int = self._get("/changes?last")["Last"]
        return number

    def changes(self, since: int) -> Iterator[Change]:
        """The changes after number ``since``, oldest first."""
        while True:
            page = self._get(f"/changes?since={since}&limit={_PAGE}")
            for item in page["Changes"]:
                date = datetime.strptime(item["Date"], "%Y%m%dT%H%M%S")
                yield Change(item["Seq"], item["ChangeType"], item["ResourceType"], item["ID"], date)
            if page["Done"] or not page["Changes"]:
                return
            since = page["Last"]

    def study_of_instance(self, identifier: str) -> str:
        """The study that an instance belongs to.

        Raises:
            NotInArchive: the instance was deleted.
        """
        study: str = self._get(f"/instances/{identifier}/study")["ID"]
        return study

    def study(self, identifier: str) -> Study:
        """A study with its series and metadata.

        Raises:
            NotInArchive: it was deleted.
        """
        path = f"/studies/{identifier}"
        study, series, metadata = self._get(path), self._get(f"{path}/series"), self._get(f"{path}/metadata?expand")
        return Study(
            identifier=identifier,
            study_instance_uid=study["MainDicomTags"]["StudyInstanceUID"],
            is_stable=study["IsStable"],
            tags={**study.get("PatientMainDicomTags", {}), **study["MainDicomTags"]},
            series=tuple(Series(item["ID"], item["MainDicomTags"], tuple(item["Instances"])) for item in series),
            metadata=metadata,
        )

    def write_record(self, study: str, record: Record, before: Record | None) -> None:
        """Keep the record on the study, and its state as one word beside it.

        The word is written first: when Orthanc stops in between, the step is done again, and both are right.

        Raises:
            NotInArchive: the study was deleted.
        """
        if before is None or before.state is not record.state:
            self._put(f"/studies/{study}/metadata/{STATE_METADATA}", record.state)
        self._put(f"/studies/{study}/metadata/{RECORD_METADATA}", record.to_json())

    def mark_result(self, series: Series, study: Study) -> None:
        """Mark a series that the node made, and its study; as labels too where this Orthanc has them."""
        path = f"/series/{series.identifier}"
        if RESULT_METADATA in self._get(f"{path}/metadata"):
            return
        for resource in (f"/studies/{study.identifier}", path):
            if self._has_labels:
                self._put(f"{resource}/labels/{RESULT_LABEL}", "")
            self._put(f"{resource}/metadata/{RESULT_METADATA}", "AI result")

    def send(self, series: tuple[str, ...], modality: str) -> str:
        """Start a job that sends whole series, and that outlives a restart of Orthanc; returns the job.

        The job fails as a whole when one image is not taken ("Permissive" false): a study of which a part is
        missing must not be released.

        Raises:
            NotInArchive: there is no such modality, or a series was deleted.
        """
        order = {"Resources": series, "Synchronous": False, "Permissive": False}
        job: str = self._request(self._orthanc.RestApiPost, f"/modalities/{modality}/store", json.dumps(order))["ID"]
        return job

    def job(self, identifier: str) -> Job:
        """How far a job is.

        Raises:
            NotInArchive: Orthanc has forgotten it, as it forgets all but the newest that have ended.
        """
        job = self._get(f"/jobs/{identifier}")
        if job["State"] == "Success":
            return Job(JobState.SUCCEEDED)
        if job["State"] == "Failure":
            parts = (job.get("ErrorDescription"), job.get("ErrorDetails"))
            return Job(JobState.FAILED, ". ".join(part for part in parts if part))
        return Job(JobState.RUNNING)

    def _get(self, path: str) -> Any:
        return self._request(self._orthanc.RestApiGet, path)

    def _put(self, path: str, body: str) -> None:
        self._request(self._orthanc.RestApiPut, path, body)

    def _request(self, method: Any, *arguments: str) -> Any:
        try:
            answer = method(*arguments)
        except self._orthanc.OrthancException as error:
            code, words = error.args
            kind = NotInArchive if code in {_INEXISTENT_ITEM, _UNKNOWN_RESOURCE} else ArchiveError
            raise kind(f"{arguments[0]}: {words}") from error
        return json.loads(answer) if answer else None
