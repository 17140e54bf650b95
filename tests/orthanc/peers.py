"""The peers of the routing tests: an Orthanc with the plugin, and a node that only listens."""

from __future__ import annotations

import copy
import functools
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, AllStoragePresentationContexts, VerificationPresentationContexts, evt

from dicom_node.demo import phantoms
from dicom_node.demo.archives import PLUGINS, Orthanc
from dicom_node.demo.processes import Process, answers, free_port

PLUGIN = Path(__file__).resolve().parents[2] / "orthanc" / "route_to_node.py"
SUCCESS = 0x0000
WAIT_SECONDS = 30.0
STABLE_AGE = timedelta(seconds=1)


def wait_until(condition: Callable[[], object], what: Callable[[], str], seconds: float = WAIT_SECONDS) -> None:
    """Wait for a condition; fails with ``what`` is the case instead."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds:.0f} s: {what()}"
        time.sleep(0.05)


def tiny_study(images: int = 2, *, modality: str = "CT") -> list[Dataset]:
    """A study of a few small slices that nobody has seen before."""
    study, series = generate_uid(), generate_uid()
    datasets = copy.deepcopy(_slices()[:images])
    for dataset in datasets:
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = study, series, generate_uid()
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.Modality = modality
    return datasets


@functools.cache
def _slices() -> list[Dataset]:
    return phantoms.chest_ct(slices=6, size=16, nodule=False)


def more_images(study: list[Dataset], images: int = 1) -> list[Dataset]:
    """Further slices of the same series."""
    late = tiny_study(images)
    for dataset in late:
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study[0].StudyInstanceUID, study[0].SeriesInstanceUID
    return late


def result_of(study: list[Dataset]) -> list[Dataset]:
    """An image in the study as the node makes them."""
    (result,) = more_images(study)
    result.SeriesInstanceUID, result.Manufacturer = generate_uid(), "dicom-node"
    return [result]


class ListeningNode:
    """Takes images and releases as a node does, and remembers them; ends each study once it is released."""

    def __init__(self) -> None:
        self.dicom_port, self._http_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self._http_port}"
        self.images: dict[str, set[str]] = {}
        self.releases: list[tuple[str, int]] = []
        self.stores = 0
        self.seconds_per_image = self.seconds_per_request = 0.0
        self._entity: AE | None = None
        self._http: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen for DICOM and HTTP; harmless where it does."""
        if self._http is not None:
            return
        entity = AE("DICOMNODE")
        entity.supported_contexts = AllStoragePresentationContexts + VerificationPresentationContexts
        entity.start_server(("127.0.0.1", self.dicom_port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)])
        node = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                node.answer(self, release=False)

            def do_POST(self) -> None:
                node.answer(self, release=True)

            def log_message(self, *_arguments: object) -> None:
                pass

        http = ThreadingHTTPServer(("127.0.0.1", self._http_port), Handler)
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self._entity, self._http = entity, http

    def stop(self) -> None:
        """Be unreachable."""
        if self._entity is not None and self._http is not None:
            self._entity.shutdown()
            self._http.shutdown()
            self._http.server_close()
            self._entity = self._http = None

    def await_releases(self, study: list[Dataset], images: list[int]) -> None:
        """Wait until the study has been released as often as there are ``images``, with so many each time."""
        wait_until(lambda: self.released_with(study) == images, lambda: f"released with {self.released_with(study)}")

    def released_with(self, study: list[Dataset]) -> list[int]:
        """How many images the node held at each release of the study."""
        return [images for uid, images in list(self.releases) if uid == study[0].StudyInstanceUID]

    def answer(self, request: BaseHTTPRequestHandler, *, release: bool) -> None:
        """Answer one HTTP request."""
        time.sleep(self.seconds_per_request)
        uid = request.path.split("/")[3]
        if uid not in self.images:
            status, body = 404, {"detail": "The node holds no study with this UID."}
        elif release:
            self.releases.append((uid, len(self.images[uid])))
            status, body = 202, {"state": "receiving"}
        else:
            status, body = 200, {"state": "not applicable", "reason": "It is a test."}
        request.send_response(status)
        request.end_headers()
        request.wfile.write(json.dumps(body).encode())

    def _store(self, event: evt.Event) -> int:
        time.sleep(self.seconds_per_image)
        dataset = event.dataset
        self.stores += 1
        self.images.setdefault(dataset.StudyInstanceUID, set()).add(dataset.SOPInstanceUID)
        return SUCCESS


class RoutingOrthanc:
    """A real Orthanc with the repository's configuration, but for what keeps it from other programs here."""

    def __init__(self, folder: Path, node_dicom_port: int, node_url: str) -> None:
        self.dicom_port, http_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{http_port}"
        configuration = shipped_configuration() | {
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [str(path) for path in PLUGINS.glob("libOrthancPython*.so")],
            "PythonScript": str(PLUGIN),
            "DicomPort": self.dicom_port,
            "HttpPort": http_port,
            "StableAge": int(STABLE_AGE.total_seconds()),
        }
        configuration["DicomModalities"]["dicom-node"]["Port"] = node_dicom_port
        configuration["DicomNode"] |= {
            "Url": node_url,
            "StatusUrl": node_url,
            "ApiKey": "none",
            "FirstRetrySeconds": 0.3,
            "MaximumRetrySeconds": 1,
        }
        self._configuration, self._path = configuration, folder / "orthanc.json"
        self._process = Process("Orthanc", ["Orthanc", str(folder / "orthanc.json")], folder / "orthanc.log")
        self.client = httpx.Client(base_url=self.url, timeout=30.0)

    @staticmethod
    def is_installed() -> bool:
        """Whether this machine has Orthanc and its Python plugin."""
        return Orthanc.is_installed() and any(PLUGINS.glob("libOrthancPython*.so"))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.stop()
        self.client.close()

    def use_key(self, api_key: str) -> None:
        """Let the plugin call the node with this API key, from the next start on."""
        self._configuration["DicomNode"]["ApiKey"] = api_key

    def start(self) -> None:
        """Start it on what it held before."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self._configuration), encoding="utf-8")
        self._process.start()
        self._process.wait_until(lambda: answers(f"{self.url}/system"), seconds=60.0)

    def stop(self) -> None:
        """Stop it as a service manager does."""
        self._process.stop()

    def kill(self) -> None:
        """End it between two instructions."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.stop()

    def upload(self, datasets: list[Dataset]) -> str:
        """Store images; returns Orthanc's identifier of their study."""
        for dataset in datasets:
            file = BytesIO()
            dataset.save_as(file, enforce_file_format=True)
            study = self.client.post("/instances", content=file.getvalue()).raise_for_status().json()["ParentStudy"]
        return str(study)

    def metadata(self, study: str) -> dict[str, Any]:
        """The metadata of a study."""
        found: dict[str, Any] = self.client.get(f"/studies/{study}/metadata?expand").raise_for_status().json()
        return found

    def state(self, study: str) -> str:
        """The AI state of a study, empty where it has none."""
        return str(self.metadata(study).get("AiState", ""))

    def attempts(self, study: str) -> int:
        """How many attempts to send a study have failed since one worked."""
        return int(json.loads(self.metadata(study).get("AiRecord", "{}")).get("attempts", 0))

    def await_state(self, study: str, state: str, seconds: float = WAIT_SECONDS) -> None:
        """Wait for an AI state."""
        wait_until(lambda: self.state(study) == state, lambda: f"not {state} but {self.metadata(study)}", seconds)


def shipped_configuration() -> dict[str, Any]:
    """The repository's ``orthanc/orthanc.json``, without its comments."""
    text = PLUGIN.with_name("orthanc.json").read_text(encoding="utf-8")
    parsed: dict[str, Any] = json.loads(re.sub(r"(^|\s)//.*", "", text))
    return parsed
