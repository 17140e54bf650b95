"""The archive that the node's results go to: Orthanc where it is installed, else a storage SCP in memory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import httpx
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, VerificationPresentationContexts, evt

from dicom_node.demo.processes import Process, answers, free_port

PLUGINS = Path("/usr/share/orthanc/plugins")
SUCCESS = 0x0000


class Holder(Protocol):
    """A place that can be asked what it holds."""

    def objects(self, study_instance_uid: str) -> list[Dataset]:
        """Every object of the study, as it was received."""


class Archive(Holder, Protocol):
    """A place that takes objects by C-STORE and can be asked what it holds."""

    name: str
    ae_title: str
    dicom_port: int

    def __enter__(self) -> Self:
        """Start it."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it."""


class Orthanc:
    """A real Orthanc on loopback that keeps its files in ``folder``, with DICOMweb where the plug-in is installed.

    ``modalities`` are the applications it can send to: name to (AE title, port), all on this machine.
    """

    name = "Orthanc"

    def __init__(
        self,
        folder: Path,
        modalities: Mapping[str, tuple[str, int]],
        ae_title: str = "ARCHIVE",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.ae_title = ae_title
        self.dicom_port, http_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{http_port}"
        folder.mkdir(parents=True, exist_ok=True)
        configuration = folder / "orthanc.json"
        configuration.write_text(
            json.dumps(
                {
                    "Name": ae_title,
                    "StorageDirectory": str(folder / "storage"),
                    "IndexDirectory": str(folder / "storage"),
                    "DicomAet": ae_title,
                    "DicomPort": self.dicom_port,
                    "DicomAlwaysAllowStore": True,
                    "DicomModalities": {
                        name: [modality, "127.0.0.1", port] for name, (modality, port) in modalities.items()
                    },
                    "HttpPort": http_port,
                    "RemoteAccessAllowed": False,
                    "AuthenticationEnabled": False,
                    "Plugins": [str(path) for path in PLUGINS.glob("libOrthancDicomWeb*.so")],
                    "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
                }
            ),
            encoding="utf-8",
        )
        self._process = Process("Orthanc", ["Orthanc", str(configuration)], folder / "orthanc.log", environment)

    @staticmethod
    def is_installed() -> bool:
        """Whether this machine has Orthanc."""
        return shutil.which("Orthanc") is not None

    def __enter__(self) -> Self:
        self._process.start()
        try:
            self._process.wait_until(lambda: answers(f"{self.url}/system"), seconds=60.0)
        except BaseException:
            self._process.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.stop()

    def objects(self, study_instance_uid: str, *, besides: Collection[str] = ()) -> list[Dataset]:
        """Every object of the study, as it was received, but for those of the series ``besides``."""
        return objects_of(self.url, study_instance_uid, besides=besides)


def objects_of(url: str, study_instance_uid: str, *, besides: Collection[str] = ()) -> list[Dataset]:
    """Every object that the Orthanc at ``url`` holds of the study, but for those of the series ``besides``."""
    with httpx.Client(base_url=url, timeout=60.0) as client:
        query = {"Level": "Series", "Expand": True, "Query": {"StudyInstanceUID": study_instance_uid}}
        every_series = client.post("/tools/find", json=query).raise_for_status().json()
        identifiers = [
            identifier
            for series in every_series
            if series["MainDicomTags"]["SeriesInstanceUID"] not in besides
            for identifier in series["Instances"]
        ]
        files = [client.get(f"/instances/{identifier}/file").raise_for_status() for identifier in identifiers]
    return [dcmread(BytesIO(file.content)) for file in files]


class RemoteOrthanc:
    """An Orthanc that runs elsewhere, under ``url``."""

    name = "Orthanc"

    def __init__(self, url: str) -> None:
        self._url = url

    def objects(self, study_instance_uid: str) -> list[Dataset]:
        """Every object of the study, as it was received."""
        return objects_of(self._url, study_instance_uid)


class StorageArchive:
    """A pynetdicom storage SCP that keeps what it receives in memory, each SOP instance once."""

    name = "pynetdicom storage SCP"

    def __init__(self, ae_title: str = "ARCHIVE") -> None:
        self.ae_title = ae_title
        self.dicom_port = free_port()
        self._objects: dict[str, Dataset] = {}
        self._entity = AE(ae_title)
        self._entity.supported_contexts = AllStoragePresentationContexts + VerificationPresentationContexts

    def __enter__(self) -> Self:
        address = ("127.0.0.1", self.dicom_port)
        self._entity.start_server(address, block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._entity.shutdown()

    def objects(self, study_instance_uid: str) -> list[Dataset]:
        """Every object of the study, as it was received."""
        return [stored for stored in list(self._objects.values()) if stored.StudyInstanceUID == study_instance_uid]

    def _store(self, event: evt.Event) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        self._objects[dataset.SOPInstanceUID] = dataset
        return SUCCESS
