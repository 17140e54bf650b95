"""Shows the node at work: two synthetic studies in over DICOM, their results back out, and a table of what came."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pydicom.dataset import Dataset
from rich.console import Console
from rich.table import Table

from dicom_node.demo.archives import Archive, Holder, Orthanc, StorageArchive
from dicom_node.demo.modality import SendError, send_study
from dicom_node.demo.node import Node
from dicom_node.demo.phantoms import chest_ct, chest_radiograph
from dicom_node.demo.processes import ProcessError, free_port
from dicom_node.demo.reports import reported_findings
from dicom_node.domain import StudyState

RESULTS_SECONDS = 300.0
SETTLE_SECONDS = 1.0
TABLE_WIDTH = 120
ENDS_WITHOUT_RESULTS = (StudyState.NOT_APPLICABLE, StudyState.FAILED)


class DemoError(Exception):
    """The demonstration did not end as it should; the text says what is missing."""


@dataclass(slots=True)
class SentStudy:
    """A study on its way: when its last image was stored, and what has come back."""

    name: str
    study_instance_uid: str
    sent_at: float
    reports: tuple[Dataset, ...] = ()
    captures: tuple[Dataset, ...] = ()
    seconds: float | None = None

    def look(self, archive: Holder, now: float) -> None:
        """Count what the archive holds of the study."""
        received = archive.objects(self.study_instance_uid)
        self.reports = tuple(item for item in received if item.Modality == "SR")
        self.captures = tuple(item for item in received if "SecondaryCapture" in item.SOPClassUID.keyword)
        if self.seconds is None and self.reports and self.captures:
            self.seconds = now - self.sent_at


def main() -> int:
    """Run the demonstration; the exit status is 0 only where everything came back."""
    console = Console()
    console.width = max(console.width, TABLE_WIDTH)
    signal.signal(signal.SIGTERM, _stop)
    try:
        with tempfile.TemporaryDirectory(prefix="dicom-node-demo-") as folder:
            studies = _run(Path(folder), console)
    except (DemoError, ProcessError, SendError) as error:
        console.print(f"demo: failed: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("demo: stopped", style="red")
        return 1
    console.print(table_of(studies))
    reports, captures = sum(len(s.reports) for s in studies), sum(len(s.captures) for s in studies)
    complete = all(len(study.reports) == len(study.captures) == 1 for study in studies)
    console.print(
        f"demo: {len(studies)} studies sent, {reports} structured reports and {captures} secondary captures received",
        soft_wrap=True,
        highlight=False,
    )
    return 0 if complete else 1


def _run(folder: Path, console: Console) -> list[SentStudy]:
    """Start archive and node, send the studies, wait for the results, and stop all of it."""
    with ExitStack() as running, console.status("") as status:
        status.update("Painting two synthetic patients …")
        images = {"Chest CT": chest_ct(), "Chest radiograph": chest_radiograph()}
        ports = (free_port(), free_port())
        modalities = {"node": ("DICOMNODE", ports[0])}
        archive: Archive = Orthanc(folder / "archive", modalities) if Orthanc.is_installed() else StorageArchive()
        status.update(f"Starting the archive ({archive.name}) …")
        running.enter_context(archive)
        console.print(f"archive: {archive.name}, {archive.ae_title} on port {archive.dicom_port}", highlight=False)
        status.update("Starting the node and loading its models …")
        node = running.enter_context(Node(folder / "node", (archive.ae_title, archive.dicom_port), ports=ports))
        console.print(f"node:    {node.ae_title} on port {node.dicom_port}, status page {node.url}", highlight=False)
        console.print(
            f"         log in as admin with the password {node.first_password}", highlight=False, markup=False
        )

        studies = []
        for name, study in images.items():
            status.update(f"Sending {name} ({len(study)} images) …")
            send_study(study, to_ae_title=node.ae_title, port=node.dicom_port)
            studies.append(SentStudy(name, study[0].StudyInstanceUID, time.monotonic()))
        status.update("Waiting for the results …")
        _wait_for_results(studies, archive, node)
        return studies


def _wait_for_results(studies: list[SentStudy], archive: Archive, node: Node) -> None:
    deadline = time.monotonic() + RESULTS_SECONDS
    while missing := [study for study in studies if study.seconds is None]:
        for study in missing:
            study.look(archive, time.monotonic())
        node.process.check_running()
        late = time.monotonic() > deadline
        states = {study.name: node.state(study.study_instance_uid) for study in missing if study.seconds is None}
        if late or any(state.startswith(ENDS_WITHOUT_RESULTS) for state in states.values()):
            waited = f" after {RESULTS_SECONDS:.0f} s" if late else ""
            raise DemoError("\n".join([f"no results{waited}.", *(f"{name}: {said}" for name, said in states.items())]))
        time.sleep(0.1)
    # One result set for each study: whatever would come on top of it is on its way already.
    time.sleep(SETTLE_SECONDS)
    for study in studies:
        study.look(archive, time.monotonic())


def table_of(studies: list[SentStudy]) -> Table:
    """What came back, a row a study."""
    table = Table(title="What came back to the archive")
    for heading in ("Study", "Model", "Finding"):
        table.add_column(heading)
    for heading in ("Probability", "SR", "SC", "Seconds from last image to results"):
        table.add_column(heading, justify="right")
    for study in studies:
        findings = [finding for report in study.reports for finding in reported_findings(report)]
        table.add_row(
            study.name,
            "\n".join(dict.fromkeys(finding.model for finding in findings)),
            "\n".join(f"{finding.finding}: {finding.presence.lower()}" for finding in findings),
            "\n".join(f"{finding.probability:.3f}" for finding in findings),
            str(len(study.reports)),
            str(len(study.captures)),
            "" if study.seconds is None else f"{study.seconds:.1f}",
        )
    return table


def _stop(_signal: int, _frame: object) -> NoReturn:
    # SIGTERM unwinds like Ctrl-C, so that everything that was started is stopped.
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
