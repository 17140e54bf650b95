"""Who made a result and what it is called: every UID is derived from the question, so that a replay answers alike."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace

from dicom_node.domain import AnalysisIdentity, ModelIdentity, Reading, ResultKind

# The name space of every derived UID. Changing it would give every object that was ever sent a second identity.
_NAMESPACE = uuid.UUID("bbad0f77-3e4f-4d1c-8c49-6a5b5e0c5f2f")


def input_digest(sop_instance_uids: Iterable[str]) -> str:
    """SHA-256 (hex) of the distinct, sorted SOP Instance UIDs that an analysis reads; their order does not matter."""
    return hashlib.sha256("\n".join(sorted(set(sop_instance_uids))).encode("ascii")).hexdigest()


def device_uid(model: ModelIdentity) -> str:
    """The Device UID of a model: another version or other weights are another device (IHE AI Results)."""
    return derived_uid("device", model.name, model.version, model.weights_digest)


def derived_uid(*parts: str) -> str:
    """A UID under 2.25 (PS3.5 B.2) from a version 5 UUID (RFC 9562) of ``parts``."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, chr(31).join(parts)).int}"


@dataclass(frozen=True, slots=True)
class ResultIdentity:
    """Names the objects made from one reading.

    ``stack_number`` tells apart several stacks that a model reads from one series. ``variant`` tells apart the
    same result written in different ways for different destinations; it is empty for the usual way.
    """

    study_instance_uid: str
    input_digest: str
    model: ModelIdentity
    series_instance_uid: str
    stack_number: int = 1
    variant: str = ""

    @classmethod
    def of(
        cls, analysis: AnalysisIdentity, reading: Reading, stack_number: int = 1, variant: str = ""
    ) -> ResultIdentity:
        """The identity of what ``analysis`` makes of ``reading``."""
        return cls(
            analysis.study_instance_uid,
            analysis.input_digest,
            reading.model,
            reading.series_instance_uid,
            stack_number,
            variant,
        )

    def sop_instance_uid(self, kind: ResultKind, finding_number: int = 0) -> str:
        """The object of ``kind``; ``finding_number`` is 0 where one object holds all findings."""
        return self._uid("instance", kind.value, str(finding_number))

    def result_series_uid(self, kind: ResultKind) -> str:
        """The series that holds the objects of ``kind`` made from this reading."""
        return self._uid("series", kind.value)

    def tracking_uid(self, finding_number: int) -> str:
        """The Tracking Unique Identifier of a finding (TID 4108)."""
        return self._uid("tracking", str(finding_number))

    def dimension_organization_uid(self, kind: ResultKind, finding_number: int) -> str:
        """The Dimension Organization UID of a multi-frame object (PS3.3 C.7.6.17)."""
        return self._uid("dimensions", kind.value, str(finding_number))

    def superseded(self, predecessor_digest: str) -> ResultIdentity:
        """The same question asked of the earlier input with ``predecessor_digest``."""
        return replace(self, input_digest=predecessor_digest)

    def _uid(self, *parts: str) -> str:
        return derived_uid(
            self.study_instance_uid,
            self.input_digest,
            self.model.name,
            self.model.version,
            self.model.weights_digest,
            self.series_instance_uid,
            str(self.stack_number),
            self.variant,
            *(part for decided in self.model.decided for part in decided),
            *parts,
        )
