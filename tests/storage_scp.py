"""A storage SCP that answers as the test says: for deliveries that are refused, warned about, or cut off."""

from __future__ import annotations

import threading
from collections import deque
from typing import Self

from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, VerificationPresentationContexts, evt

SUCCESS = 0x0000


class ProgrammableStorage:
    """Answers each C-STORE with the next of ``statuses``, with success once they are used up.

    ``received`` holds what was answered with success. It can be stopped and started again on the same port.
    """

    def __init__(self, port: int, ae_title: str = "ARCHIVE") -> None:
        self.port, self.ae_title = port, ae_title
        self.statuses: deque[int] = deque()
        self.received: list[Dataset] = []
        self.requests = 0
        self._lock = threading.Lock()
        self._entity: AE | None = None

    def start(self) -> Self:
        """Listen."""
        self._entity = AE(self.ae_title)
        self._entity.supported_contexts = self.contexts()
        self._entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=self.handlers())
        return self

    def contexts(self) -> list:
        """What it accepts."""
        return AllStoragePresentationContexts + VerificationPresentationContexts

    def handlers(self) -> list:
        """What it answers."""
        return [(evt.EVT_C_STORE, self._store)]

    def stop(self) -> None:
        """Stop listening; harmless where it does not."""
        if self._entity is not None:
            self._entity.shutdown()
            self._entity = None

    def _store(self, event: evt.Event) -> int:
        with self._lock:
            self.requests += 1
            status = self.statuses.popleft() if self.statuses else SUCCESS
            if status == SUCCESS:
                self.received.append(event.dataset)
            return status
