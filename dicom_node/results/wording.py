"""The words for a finding, the same in every object that the node makes."""

from __future__ import annotations

from dicom_node.domain import Evaluation, Finding, Reading

NOT_VERIFIED = "AI result, not verified by a physician"


def percent(probability: float, threshold: float | None = None) -> str:
    """``probability`` as a percentage, with as many digits as it takes not to read as 0 %, 100 % or ``threshold``."""
    for digits in range(4):
        text = f"{100 * probability:.{digits}f}"
        misleading = {f"{0:.{digits}f}"} if probability > 0 else set()
        if probability < 1:
            misleading.add(f"{100:.{digits}f}")
        if threshold is not None and probability != threshold:
            misleading.add(f"{100 * threshold:.{digits}f}")
        if text not in misleading:
            break
    return f"{text} %"


def probability_text(finding: Finding) -> str:
    """The finding's probability as a percentage that never reads as its threshold unless it is."""
    return percent(finding.probability, finding.operating_point.threshold)


def operating_point_text(finding: Finding) -> str:
    """The threshold the probability was held against, and its name: ``threshold 40 %, screening``."""
    return f"threshold {percent(finding.operating_point.threshold)}, {finding.operating_point_name}"


def site_text(finding: Finding) -> str:
    """The finding site with its side: ``Lung structure, left``."""
    return finding.site.meaning if finding.laterality is None else f"{finding.site.meaning}, {finding.laterality}"


def headline(finding: Finding) -> str:
    """The answer in two or three words, told apart at a glance: ``Pneumonia: present``."""
    return f"{finding.label}: {finding.evaluation.value}"


def sentence(finding: Finding) -> str:
    """The whole answer: ``Pneumonia: present, probability 93 % (threshold 40 %, screening)``."""
    return f"{headline(finding)}, probability {probability_text(finding)} ({operating_point_text(finding)})"


def result(findings: tuple[Finding, ...]) -> str:
    """The most important finding as short as can be, for lists of series: ``93 % Pneumonia, present, 1 more``.

    The number comes first, since lists cut what is long. What is counted is what is present besides.
    """
    first, *others = by_importance(findings)
    present = sum(other.evaluation is Evaluation.PRESENT for other in others)
    more = f", {present} more" if present else ""
    return f"{probability_text(first)} {first.label}, {first.evaluation.value}{more}"


def model_text(reading: Reading) -> str:
    """Which model, for people: ``chest_xray 1.2.0``."""
    return f"{reading.model.name} {reading.model.version}"


def by_importance(findings: tuple[Finding, ...]) -> list[Finding]:
    """Present findings first, then indeterminate, then absent; within each the most probable first."""
    rank = {Evaluation.PRESENT: 0, Evaluation.INDETERMINATE: 1, Evaluation.ABSENT: 2}
    return sorted(findings, key=lambda finding: (rank[finding.evaluation], -finding.probability, finding.number))
