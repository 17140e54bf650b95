"""Sends studies to the node as peers do, and waits for what comes back."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID, generate_uid
from pynetdicom import AE, _config

from dicom_node.demo.archives import Orthanc
from dicom_node.demo.node import Node

RESULTS_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class SentStudy:
    """A study that was sent: its UID, its series, its files, and how it is called in Orthanc where it is there."""

    study_instance_uid: str
    series_instance_uids: frozenset[str]
    files: tuple[Path, ...]
    orthanc_id: str = ""


@dataclass(frozen=True, slots=True)
class Results:
    """What the archive holds of a study beside the images."""

    reports: tuple[Dataset, ...]
    captures: tuple[Dataset, ...]

    @property
    def objects(self) -> tuple[Dataset, ...]:
        """Reports and captures."""
        return self.reports + self.captures

    @property
    def uids(self) -> set[str]:
        """Their SOP Instance UIDs."""
        return {str(item.SOPInstanceUID) for item in self.objects}


def describe(files: Sequence[Path], orthanc_id: str = "") -> SentStudy:
    """Read the identity of a study from its files."""
    headers = [dcmread(file, stop_before_pixels=True) for file in files]
    series = frozenset(str(header.SeriesInstanceUID) for header in headers)
    return SentStudy(str(headers[0].StudyInstanceUID), series, tuple(files), orthanc_id)


def as_new_study(files: Sequence[Path], folder: Path) -> list[Path]:
    """Copy a study under new UIDs into ``folder``."""
    renamed: dict[str, UID] = {}
    copies = []
    for number, file in enumerate(files):
        dataset = dcmread(file)
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
            if keyword in dataset:
                setattr(dataset, keyword, renamed.setdefault(str(dataset[keyword].value), generate_uid()))
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        copies.append(folder / f"{number:04}.dcm")
        dataset.save_as(copies[-1])
    return copies


def send_with_dcmtk(dcmsend: str, node: Node, files: Sequence[Path]) -> SentStudy:
    """Send files with DCMTK's dcmsend in one association; fails where the node did not take them all."""
    command = [dcmsend, "-aec", node.ae_title, "--no-uid-checks", "127.0.0.1", str(node.dicom_port)]
    sent = subprocess.run([*command, *map(str, files)], capture_output=True, text=True, check=False)
    assert sent.returncode == 0, sent.stdout + sent.stderr
    return describe(files)


def upload(orthanc: Orthanc, files: Sequence[Path]) -> SentStudy:
    """Put a study into Orthanc."""
    with httpx.Client(base_url=orthanc.url, timeout=60.0) as client:
        answers = [client.post("/instances", content=file.read_bytes()).raise_for_status().json() for file in files]
    return describe(files, answers[0]["ParentStudy"])


def send_with_orthanc(orthanc: Orthanc, study: SentStudy) -> SentStudy:
    """Let Orthanc send a study that it holds to the node, as a user's click does."""
    answer = httpx.post(f"{orthanc.url}/modalities/node/store", content=study.orthanc_id, timeout=120.0)
    assert answer.is_success, answer.text
    return study


def results_in(orthanc: Orthanc, study: SentStudy) -> Results:
    """What Orthanc holds of the study beside the images."""
    found = orthanc.objects(study.study_instance_uid, besides=study.series_instance_uids)
    reports = tuple(item for item in found if item.Modality == "SR")
    captures = tuple(item for item in found if "SecondaryCapture" in item.SOPClassUID.keyword)
    assert len(reports) + len(captures) == len(found), [item.SOPClassUID.name for item in found]
    return Results(reports, captures)


def wait_for_results(orthanc: Orthanc, node: Node, study: SentStudy) -> Results:
    """Wait until the node has delivered the study, and fetch what Orthanc has got of it."""
    wait_until(lambda: _has_ended(node, study.study_instance_uid), lambda: node.state(study.study_instance_uid))
    state = node.state(study.study_instance_uid)
    assert state.startswith("delivered"), state
    return results_in(orthanc, study)


def wait_until(
    condition: Callable[[], bool], explain: Callable[[], str], *, seconds: float = RESULTS_SECONDS, every: float = 0.1
) -> None:
    """Wait for ``condition``; fails with what ``explain`` says."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds:.0f} s: {explain()}"
        time.sleep(every)


def _has_ended(node: Node, study_instance_uid: str) -> bool:
    study = node.study(study_instance_uid)
    return study is not None and study["state"] in ("delivered", "failed", "not applicable")


def store(node: Node, file: Path) -> int:
    """Send the bytes of a Part 10 file as they are, whatever they hold; returns the C-STORE status."""
    meta = dcmread(file, stop_before_pixels=True, specific_tags=["SOPInstanceUID"], force=True).file_meta
    entity = AE("MODALITY")
    entity.add_requested_context(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", node.dicom_port, ae_title=node.ae_title)
    assert association.is_established
    before = _config.STORE_SEND_CHUNKED_DATASET
    _config.STORE_SEND_CHUNKED_DATASET = True
    try:
        answer = association.send_c_store(file)
    finally:
        _config.STORE_SEND_CHUNKED_DATASET = before
        association.release()
    return int(answer.Status)
