"""Orthanc plugin: sends stable studies to the inference node and releases them there.

Set "PythonScript" of Orthanc's configuration to this file; the folder ``node_routing`` must lie beside it. It needs
Python's standard library only. Orthanc calls the functions below from several threads; each hands a message to the
router's thread or reads, and returns.
"""

from __future__ import annotations

import json
import logging
import threading
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

from node_routing.archive import Archive, NotInArchive
from node_routing.node import Node
from node_routing.record import Record
from node_routing.router import JobEnded, LogHasGrown, Message, Router, SendByHand, Stop
from node_routing.settings import RECORD_METADATA, SECTION, Settings, SettingsError, read_settings
from node_routing.steps import Steps

import orthanc

_STOP_SECONDS = 15.0  # longer than any request to the node may take


class OrthancLog(logging.Handler):
    """Writes the router's log into Orthanc's."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record at its level."""
        write = orthanc.LogInfo
        if record.levelno >= logging.WARNING:
            write = orthanc.LogError if record.levelno >= logging.ERROR else orthanc.LogWarning
        write(self.format(record))


class Plugin:
    """Owns the router and its thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._router: Router | None = None
        self._thread: threading.Thread | None = None

    def on_change(self, change: int, level: int, resource: str) -> None:
        """Tell the router what concerns it."""
        kinds = orthanc.ChangeType
        if change == kinds.ORTHANC_STARTED:
            self._start()
        elif change == kinds.STABLE_STUDY:
            if self._thread is not None and not self._thread.is_alive():
                orthanc.LogError("The router to the AI node had ended, see above; it is started again")
                self._start()
            self._tell(LogHasGrown())
        elif change in (kinds.JOB_SUCCESS, kinds.JOB_FAILURE):
            self._tell(JobEnded(resource, succeeded=change == kinds.JOB_SUCCESS))
        elif change == kinds.ORTHANC_STOPPED:
            self._tell(Stop())
            if self._thread is not None:
                self._thread.join(_STOP_SECONDS)

    def show(self, output: Any, _uri: str, **request: Any) -> None:
        """GET ``/dicom-node/studies/{id}``: where a study stands, and its page on the node."""
        if request["method"] != "GET":
            output.SendMethodNotAllowed("GET")
            return
        self._answer(output, request["groups"][0])

    def send(self, output: Any, _uri: str, **request: Any) -> None:
        """POST ``/dicom-node/studies/{id}/send``: send a study, whatever the rules say."""
        if request["method"] != "POST":
            output.SendMethodNotAllowed("POST")
            return
        self._answer(output, request["groups"][0], SendByHand(request["groups"][0]))

    def _answer(self, output: Any, identifier: str, message: Message | None = None) -> None:
        try:
            study = Archive(orthanc).study(identifier)
        except NotInArchive:
            output.SendHttpStatusCode(HTTPStatus.NOT_FOUND)
            return
        if message is not None:
            self._tell(message)
        record = Record.parse(study.metadata.get(RECORD_METADATA, ""))
        answer = {
            "State": "asked for" if message else record.state if record else "not sent",
            "Since": record and record.since.isoformat(timespec="seconds"),
            "Images": record.images if record else 0,
            "Attempts": record.attempts if record else 0,
            "Answer": record.answer if record and not message else "",
            "StatusPage": f"{self._settings.status_url}/studies/{study.study_instance_uid}",
        }
        output.AnswerBuffer(json.dumps(answer), "application/json")

    def _start(self) -> None:
        archive = Archive(orthanc)
        if archive.needs_revisions:
            orthanc.LogError('No study is sent to the AI node: "CheckRevisions" must be false, or states are not kept')
            return
        if self._settings.modality not in archive.modalities():
            orthanc.LogError(f'Nothing reaches the AI node until "{self._settings.modality}" is in DicomModalities')
        node = Node(self._settings.url, self._settings.api_key)
        self._router = Router(archive, Steps(archive, node, self._settings), self._settings, lambda: datetime.now(UTC))
        self._thread = threading.Thread(target=self._router.run, name="route-to-node", daemon=True)
        self._thread.start()

    def _tell(self, message: Message) -> None:
        if self._router is not None:
            self._router.tell(message)


def install() -> None:
    """Register the plugin with Orthanc; a wrong configuration is logged, and Orthanc works on without it."""
    logger = logging.getLogger("node_routing")
    logger.addHandler(OrthancLog())
    logger.setLevel(logging.INFO)
    try:
        settings = read_settings(json.loads(orthanc.GetConfiguration()))
    except SettingsError as error:
        orthanc.LogError(f"No study is sent to the AI node. Orthanc's configuration, {SECTION}: {error}")
        return
    plugin = Plugin(settings)
    orthanc.RegisterOnChangeCallback(plugin.on_change)
    orthanc.RegisterRestCallback("/dicom-node/studies/([-0-9a-f]+)", plugin.show)
    orthanc.RegisterRestCallback("/dicom-node/studies/([-0-9a-f]+)/send", plugin.send)
    explorer = Path(__file__).parent / "node_routing" / "explorer.js"
    orthanc.ExtendOrthancExplorer(explorer.read_text(encoding="utf-8"))


install()
