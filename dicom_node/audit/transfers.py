"""Audit events of transferred instances (PS3.15 A.5.3.3, A.5.3.7): by association and study, beside the transfer."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from dicom_node.audit import message
from dicom_node.audit.message import Action, AuditCode, AuditedStudy, AuditEvent, Outcome, Participant
from dicom_node.audit.trail import AuditTrail
from dicom_node.database import now


@dataclass(slots=True)
class _Transfer:
    """What one association has brought of one study."""

    study: AuditedStudy
    instances: Counter[str] = field(default_factory=Counter)


class Transfers:
    """Counts what associations bring, and writes down what began, what was transferred, and what was sent.

    Counting is all that a transfer waits for: a thread writes.
    """

    def __init__(self, trail: AuditTrail, ae_title: str) -> None:
        self._trail = trail
        self._ae_title = ae_title
        self._lock = threading.Lock()
        self._under_way: dict[Hashable, tuple[Participant, dict[str, _Transfer]]] = {}
        self._events: queue.SimpleQueue[AuditEvent | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="audit", daemon=True)
        self._thread.start()

    def received(self, association: Hashable, ae_title: str, address: str, came: AuditedStudy) -> None:
        """An instance has come; the first of a study on an association is the beginning of its transfer."""
        with self._lock:
            caller, transfers = self._under_way.setdefault(association, (_source(ae_title, address), {}))
            transfer = transfers.get(came.study_instance_uid)
            begins = transfer is None
            if transfer is None:
                transfer = transfers[came.study_instance_uid] = _Transfer(replace(came, sop_classes=()))
            for sop_class_uid, count in came.sop_classes:
                transfer.instances[sop_class_uid] += count
        if begins:
            self._put(message.BEGIN_TRANSFERRING, Action.EXECUTE, caller, self._destination(), transfer.study, now())

    def ended(self, association: Hashable, *, in_order: bool) -> None:
        """An association is over: what it brought is transferred, with a failure where it broke off."""
        with self._lock:
            caller, transfers = self._under_way.pop(association, (None, {}))
        if caller is None:
            return
        for transfer in transfers.values():
            study = replace(transfer.study, sop_classes=tuple(sorted(transfer.instances.items())))
            outcome = Outcome.SUCCESS if in_order else Outcome.MINOR_FAILURE
            participants = caller, self._destination()
            self._put(message.INSTANCES_TRANSFERRED, Action.CREATE, *participants, study, now(), outcome)

    def sent(
        self,
        ae_title: str,
        host: str,
        study: AuditedStudy,
        began_at: datetime,
        accepted: Mapping[str, int],
        refused: Mapping[str, int],
    ) -> None:
        """Results were answered by their destination: how many it accepted and refused, by SOP Class UID."""
        node, peer = _source(self._ae_title), _destination(ae_title, host)
        self._put(message.BEGIN_TRANSFERRING, Action.EXECUTE, node, peer, study, began_at)
        for counts, outcome in ((accepted, Outcome.SUCCESS), (refused, Outcome.MINOR_FAILURE)):
            if counts:
                transferred = replace(study, sop_classes=tuple(sorted(counts.items())))
                self._put(message.INSTANCES_TRANSFERRED, Action.CREATE, node, peer, transferred, now(), outcome)

    def close(self) -> None:
        """Write what is left, and end."""
        self._events.put(None)
        self._thread.join()

    def _destination(self) -> Participant:
        return _destination(self._ae_title)

    def _put(
        self,
        event: AuditCode,
        action: Action,
        source: Participant,
        destination: Participant,
        study: AuditedStudy,
        at: datetime,
        outcome: Outcome = Outcome.SUCCESS,
    ) -> None:
        self._events.put(AuditEvent(event, action, at, (source, destination), outcome=outcome, study=study))

    def _write(self) -> None:
        while (event := self._events.get()) is not None:
            self._trail.record(event)


def _source(ae_title: str, address: str = "") -> Participant:
    """Who sends asks for the transfer."""
    return Participant(ae_title or "unknown", is_requestor=True, role=message.SOURCE, address=address)


def _destination(ae_title: str, address: str = "") -> Participant:
    return Participant(ae_title, is_requestor=False, role=message.DESTINATION, address=address)
