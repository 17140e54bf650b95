"""What of the web side is an audit event: logins, views of a patient, downloads, and what was changed."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import Depends, Request

from dicom_node.audit import message
from dicom_node.audit.message import Action, AuditCode, AuditedStudy, AuditEvent, Outcome, Participant
from dicom_node.audit.trail import AuditTrail
from dicom_node.database import now
from dicom_node.web.callers import Caller

SAME_VIEW = timedelta(minutes=5)
"""A page brings itself up to date every few seconds; who looks on for so long is written down again."""


class Audit:
    """Writes the web side's audit events."""

    def __init__(self, trail: AuditTrail, node: str) -> None:
        self._trail = trail
        self._node = Participant(node, is_requestor=False, role=message.APPLICATION)
        self._views: dict[tuple[str, str, str], datetime] = {}
        self._lock = threading.Lock()

    def login(self, name: str, address: str, *, accepted: bool) -> None:
        """Somebody logged in, or tried to."""
        self._record(message.USER_AUTHENTICATION, Action.EXECUTE, name, address, message.LOGIN, accepted=accepted)

    def logout(self, caller: Caller) -> None:
        """A user logged out."""
        self._record(message.USER_AUTHENTICATION, Action.EXECUTE, caller.name, caller.address, message.LOGOUT)

    def password_changed(self, caller: Caller) -> None:
        """A user has another password."""
        self.access_changed(caller, "own password changed")

    def access_changed(self, caller: Caller, note: str) -> None:
        """It was changed who may come in, or as what."""
        self._record(
            message.SECURITY_ALERT,
            Action.EXECUTE,
            caller.name,
            caller.address,
            message.USER_SECURITY_ATTRIBUTES_CHANGED,
            note=note,
        )

    def trail_read(self, caller: Caller) -> None:
        """Somebody read the audit trail."""
        self._record(message.AUDIT_LOG_USED, Action.READ, caller.name, caller.address)

    def viewed(self, caller: Caller, study: AuditedStudy) -> None:
        """A patient's study was shown; within ``SAME_VIEW`` the same again is no new event."""
        at, key = now(), (caller.name, caller.address, study.study_instance_uid)
        with self._lock:
            if key in self._views and at - self._views[key] < SAME_VIEW:
                return
            self._views = {seen: when for seen, when in self._views.items() if at - when < SAME_VIEW} | {key: at}
        self._record(message.INSTANCES_ACCESSED, Action.READ, caller.name, caller.address, study=study)

    def searched(self, caller: Caller, note: str) -> None:
        """Patients' studies were searched for."""
        self._record(message.QUERY, Action.EXECUTE, caller.name, caller.address, note=note)

    def downloaded(self, caller: Caller, study: AuditedStudy) -> None:
        """A result object was given out as a file."""
        self._record(message.EXPORT, Action.READ, caller.name, caller.address, study=study)

    def acted(self, caller: Caller, study: AuditedStudy, note: str) -> None:
        """Something was done with a study; ``note`` says what, and the reason that was given."""
        self._record(message.INSTANCES_ACCESSED, Action.UPDATE, caller.name, caller.address, study=study, note=note)

    def model_decided(self, caller: Caller, model: str, text: str) -> None:
        """It was decided how a model is run."""
        event, note = message.SECURITY_ALERT, f"{model}: {text}"
        self._record(event, Action.EXECUTE, caller.name, caller.address, message.SOFTWARE_CONFIGURATION, note=note)

    def stored(self, caller: Caller, study: AuditedStudy) -> None:
        """Objects of a study were sent to the node over HTTP, and kept."""
        self._record(message.INSTANCES_TRANSFERRED, Action.CREATE, caller.name, caller.address, study=study)

    def _record(
        self,
        event: AuditCode,
        action: Action,
        name: str,
        address: str,
        event_type: AuditCode | None = None,
        *,
        study: AuditedStudy | None = None,
        note: str = "",
        accepted: bool = True,
    ) -> None:
        somebody = Participant(name, is_requestor=True, address=address)
        outcome = Outcome.SUCCESS if accepted else Outcome.MINOR_FAILURE
        self._trail.record(AuditEvent(event, action, now(), (somebody, self._node), event_type, outcome, note, study))


def _audit(request: Request) -> Audit:
    audit: Audit = request.app.state.audit
    return audit


CurrentAudit = Annotated[Audit, Depends(_audit)]
