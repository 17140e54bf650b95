"""Sends two synthetic studies into an archive that routes to a node, such as that of docker-compose.yml, and waits.

``python -m dicom_node.demo.composed [ARCHIVE@orthanc:4242] [http://orthanc:8042]``
"""

from __future__ import annotations

import re
import sys
import time

import httpx
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from rich.console import Console

from dicom_node.demo.__main__ import RESULTS_SECONDS, TABLE_WIDTH, SentStudy, table_of
from dicom_node.demo.archives import RemoteOrthanc
from dicom_node.demo.modality import SendError, send_study
from dicom_node.demo.phantoms import chest_ct, chest_radiograph


def main(archive: str = "ARCHIVE@orthanc:4242", url: str = "http://orthanc:8042") -> int:
    """Send, wait for the results in the archive, and print them; 0 only where everything came back."""
    console = Console()
    console.width = max(console.width, TABLE_WIDTH)
    address = re.fullmatch(r"([^@]{1,16})@([^:@]+):(\d{1,5})", archive)
    if address is None:
        console.print(f"demo: {archive!r} is not AET@HOST:PORT", style="red", markup=False)
        return 1
    orthanc = RemoteOrthanc(url)
    studies = []
    try:
        for name, images in {"Chest CT": chest_ct(), "Chest radiograph": chest_radiograph()}.items():
            _rename(images)
            console.print(f"sending {name} ({len(images)} images) to {archive}", highlight=False)
            send_study(images, to_ae_title=address[1], host=address[2], port=int(address[3]))
            studies.append(SentStudy(name, images[0].StudyInstanceUID, time.monotonic()))
        deadline = time.monotonic() + RESULTS_SECONDS
        while any(study.seconds is None for study in studies) and time.monotonic() < deadline:
            time.sleep(0.5)
            for study in studies:
                study.look(orthanc, time.monotonic())
    except (SendError, httpx.HTTPError) as error:
        console.print(f"demo: failed: {error or type(error).__name__}", style="red", markup=False, soft_wrap=True)
        return 1
    console.print(table_of(studies))
    missing = [study.name for study in studies if study.seconds is None]
    if missing:
        console.print(f"demo: no results of {', '.join(missing)} after {RESULTS_SECONDS:.0f} s", style="red")
    return 1 if missing else 0


def _rename(images: list[Dataset]) -> None:
    """Make another study of the same images: the archive may hold an earlier one with its results."""
    study, series = generate_uid(), generate_uid()
    for image in images:
        image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID = study, series, generate_uid()
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
