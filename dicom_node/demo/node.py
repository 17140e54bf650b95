"""Runs ``dicom-node serve`` as a program of its own, on free ports and a folder of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

from dicom_node.access.api_keys import ApiKeys
from dicom_node.config import load_config
from dicom_node.database import Database
from dicom_node.demo.processes import Process, answers, free_port, listens
from dicom_node.domain import Role

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
        self.headers: dict[str, str] = {}
        """What a request to the node's web side carries, once the node runs: an API key with every right."""
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
        self._configuration = configuration
        command = [sys.executable, "-m", "dicom_node", "serve", "--config", str(configuration)]
        self.process = Process("dicom-node", command, folder / "node.log", environment)

    def __enter__(self) -> Self:
        self.headers = {"Authorization": f"Bearer {self.add_key(Role.ADMIN)}"}
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

    def add_key(self, role: Role) -> str:
        """Make an API key, as ``dicom-node apikey add`` does."""
        config = load_config(self._configuration)
        database = Database(config.database_url)
        database.create_tables()
        _, key = ApiKeys(database, config.secret_path).add("demo", role)
        database.close()
        return key

    @property
    def first_password(self) -> str:
        """The first administrator's password, which the node has put where only its user can read it."""
        return load_config(self._configuration).first_password_path.read_text().strip()

    def study(self, study_instance_uid: str) -> dict[str, Any] | None:
        """What the node's API says of a study, None where it does not know it."""
        answer = httpx.get(f"{self.url}/api/studies/{study_instance_uid}", headers=self.headers, timeout=10.0)
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
