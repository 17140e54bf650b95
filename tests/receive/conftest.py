"""A receiver on a free port, with a sink and a log of refusals that the tests look into."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import uid
from pynetdicom import AE, build_context
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import Verification

from dicom_node.config import Config
from dicom_node.domain import Association
from dicom_node.receive.receiver import Receiver
from dicom_node.receive.refusal import Reason


class Sink:
    """Keeps the bytes it is given, or refuses as told."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, Association]] = []
        self.error: Exception | None = None

    def accept(self, path: Path, association: Association) -> None:
        if self.error is not None:
            raise self.error
        self.received.append((path.read_bytes(), association))


class Refusals:
    def __init__(self) -> None:
        self.lines: list[tuple[str, Reason, str, str]] = []

    def record(self, association: Association, reason: Reason, text: str, sop_instance_uid: str = "") -> None:
        self.lines.append((association.calling_ae_title, reason, text, sop_instance_uid))


class Node:
    """A receiver on a free port and a sender that calls it."""

    def __init__(self, tmp_path: Path, **receive: object) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        settings = {
            "host": "127.0.0.1",
            "port": self.port,
            "minimum_free_megabytes": 0,
            "maximum_disk_percent": 100,
            **receive,
        }
        peers = [{"name": "known", "ae_title": "KNOWN", "host": "h", "port": 104, "sends": True}]
        self.config = Config.model_validate({"node": {"data_folder": tmp_path}, "receive": settings, "peers": peers})
        self.config.incoming_folder.mkdir(parents=True)
        self.sink, self.refusals = Sink(), Refusals()
        self.receiver = Receiver(self.config, self.sink, self.refusals)
        self.receiver.start()

    def call(
        self, calling: str = "SENDER", called: str = "DICOMNODE", contexts: list[PresentationContext] | None = None
    ) -> Any:
        entity = AE(ae_title=calling)
        contexts = contexts or [build_context(Verification), build_context(uid.CTImageStorage)]
        return entity.associate("127.0.0.1", self.port, contexts=contexts, ae_title=called)


NodeMaker = Callable[..., Node]


@pytest.fixture
def start_node(tmp_path: Path) -> Iterator[NodeMaker]:
    nodes: list[Node] = []

    def start(**receive: object) -> Node:
        nodes.append(Node(tmp_path, **receive))
        return nodes[-1]

    yield start
    for node in nodes:
        node.receiver.stop()
