"""What readers say of findings: right or wrong, one verdict a reader, who may change it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from scipy.stats import binomtest
from sqlalchemy.orm import Session

from dicom_node.database import now
from dicom_node.domain import Evaluation
from dicom_node.tables import AnalysisRow, FindingRow, VerdictRow


class UnknownFinding(Exception):
    """There is no such finding."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often readers said that a model was right, of the findings of which they said anything.

    ``low`` and ``high`` bound the share with 95 % confidence (Wilson 1927); what is not judged is not in it, and
    readers do not judge at random.
    """

    model_version: str
    finding: str
    evaluation: Evaluation
    right: int
    judged: int

    @property
    def share(self) -> float:
        """The share that was right."""
        return self.right / self.judged

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the share."""
        interval = binomtest(self.right, self.judged).proportion_ci(method="wilson")
        return float(interval.low), float(interval.high)


def give_verdict(
    session: Session, study_instance_uid: str, finding_id: int, reader: str, *, right: bool, note: str = ""
) -> VerdictRow:
    """Write down what a reader says of a finding, in place of what the same reader said of it before.

    Raises:
        UnknownFinding: the study has no such finding.
    """
    finding = session.scalar(
        sa.select(FindingRow)
        .join(AnalysisRow, AnalysisRow.analysis_id == FindingRow.analysis_id)
        .where(FindingRow.id == finding_id, AnalysisRow.study_instance_uid == study_instance_uid)
    )
    if finding is None:
        raise UnknownFinding
    row = session.scalar(_about(finding).where(VerdictRow.reader == reader))
    if row is None:
        row = VerdictRow(
            analysis_id=finding.analysis_id,
            series_instance_uid=finding.series_instance_uid,
            stack_number=finding.stack_number,
            number=finding.number,
            model=finding.model,
            model_version=finding.model_version,
            finding=finding.name,
            evaluation=finding.evaluation,
            reader=reader,
        )
        session.add(row)
    row.right, row.note, row.at, row.evaluation = right, note, now(), finding.evaluation
    return row


Subject = tuple[str, str, int, int, str, str]
"""What a verdict is about: analysis, series, stack, number of the finding, model and its version."""


def subject(row: FindingRow | VerdictRow) -> Subject:
    """What a verdict on a finding is about, and what a verdict was about."""
    return (
        row.analysis_id,
        row.series_instance_uid,
        row.stack_number,
        row.number,
        row.model,
        row.model_version,
    )


def verdicts_of(session: Session, analysis_ids: Iterable[str]) -> dict[Subject, list[VerdictRow]]:
    """What readers said of the findings of some analyses, the oldest first, by what it is about."""
    query = sa.select(VerdictRow).where(VerdictRow.analysis_id.in_(analysis_ids)).order_by(VerdictRow.at)
    found: dict[Subject, list[VerdictRow]] = {}
    for row in session.scalars(query):
        found.setdefault(subject(row), []).append(row)
    return found


def agreement(session: Session, model: str) -> list[Agreement]:
    """How far readers agree with a model, by version, finding and what the model had said; the latest version first."""
    rows = session.execute(
        sa.select(
            VerdictRow.model_version,
            VerdictRow.finding,
            VerdictRow.evaluation,
            sa.func.sum(sa.cast(VerdictRow.right, sa.Integer)),
            sa.func.count(),
        )
        .where(VerdictRow.model == model)
        .group_by(VerdictRow.model_version, VerdictRow.finding, VerdictRow.evaluation)
        .order_by(sa.func.max(VerdictRow.at).desc())
    )
    return [Agreement(version, finding, said, int(right), judged) for version, finding, said, right, judged in rows]


def _about(finding: FindingRow) -> sa.Select[VerdictRow]:
    return sa.select(VerdictRow).where(
        VerdictRow.analysis_id == finding.analysis_id,
        VerdictRow.series_instance_uid == finding.series_instance_uid,
        VerdictRow.stack_number == finding.stack_number,
        VerdictRow.number == finding.number,
        VerdictRow.model == finding.model,
        VerdictRow.model_version == finding.model_version,
    )
