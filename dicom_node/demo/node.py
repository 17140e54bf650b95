"""Runs ``dicom-node serve`` as a program of its own, on free ports and a folder of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

from dicom_node.demo.processes import Process, answers, free_port, listens

READY_SECONDS = 120.0


class Node:
    """A node on loopback that sends its results to ``archive`` (AE title, port).

    ``settings`` are sections of ``node.yaml`` laid over the small changes that a node needs to run beside others:
    its folder, its ports and short quiet periods. ``DICOM_NODE_…`` variables of this process do not reach it.
    """

    def __init__(
        self,
        folder: Path,
        archive: tuple[str, int],
        *,
        quiet_seconds: float = 2.0,
        ports: tuple[int, int] | None = None,
        settings: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        self.ae_title = "DICOMNODE"
        self.folder = folder
        self.dicom_port, web_port = ports or (free_port(), free_port())
        self.url = f"http://127.0.0.1:{web_port}"
        archive_title, archive_port = archive
        sections: dict[str, Any] = {
            "node": {"ae_title": self.ae_title, "data_folder": str(folder / "data")},
            "receive": {
                "host": "127.0.0.1",
                "port": self.dicom_port,
                "minimum_free_megabytes": 200,
                "maximum_disk_percent": 100,
            },
            "completeness": {
                "quiet_seconds": dict.fromkeys(("CR", "DX", "CT"), quiet_seconds),
                "default_quiet_seconds": quiet_seconds,
            },
            "web": {"port": web_port},
        }
        for section, values in (settings or {}).items():
            sections[section] = sections.get(section, {}) | values
        peer = {"name": "archive", "ae_title": archive_title, "host": "127.0.0.1", "port": archive_port}
        sections["peers"] = [peer | {"sends": True, "receives_results": True}]
        folder.mkdir(parents=True, exist_ok=True)
        configuration = folder / "node.yaml"
        configuration.write_text(yaml.safe_dump(sections), encoding="utf-8")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("DICOM_NODE_")}
        command = [sys.executable, "-m", "dicom_node", "serve", "--config", str(configuration)]
        self.process = Process("dicom-node", command, folder / "node.log", environment)

    def __enter__(self) -> Self:
        self.process.start()
        try:
            self.process.wait_until(self._is_ready, READY_SECONDS)
        except BaseException:
            self.process.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.stop()

    def study(self, study_instance_uid: str) -> dict[str, Any] | None:
        """What the node's API says of a study, None where it does not know it."""
        answer = httpx.get(f"{self.url}/api/studies/{study_instance_uid}", timeout=10.0)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        study: dict[str, Any] = answer.raise_for_status().json()
        return study

    def state(self, study_instance_uid: str) -> str:
        """What the node says of a study, in words for a failure message."""
        try:
            study = self.study(study_instance_uid)
        except httpx.HTTPError as error:
            return f"the node does not say ({error})"
        return "unknown to the node" if study is None else f"{study['state']}. {study['reason']}"

    def _is_ready(self) -> bool:
        return answers(f"{self.url}/readyz") and listens(self.dicom_port)
