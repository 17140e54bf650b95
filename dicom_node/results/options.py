"""What a destination wants to receive, and how it wants it labelled."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from dicom_node.config import Peer
from dicom_node.domain import ResultKind

DEFAULT_KINDS = (ResultKind.STRUCTURED_REPORT, ResultKind.SECONDARY_CAPTURE)

DEFAULT_SERIES_NUMBERS: Mapping[ResultKind, int] = {
    ResultKind.STRUCTURED_REPORT: 900,
    ResultKind.SECONDARY_CAPTURE: 901,
    ResultKind.PRESENTATION_STATE: 902,
    ResultKind.PARAMETRIC_MAP: 903,
    ResultKind.SEGMENTATION: 904,
}

DEFAULT_DESCRIPTIONS: Mapping[ResultKind, str] = {
    ResultKind.STRUCTURED_REPORT: "AI: {result}",
    ResultKind.SECONDARY_CAPTURE: "AI images: {title}",
    ResultKind.PRESENTATION_STATE: "AI annotations: {title}",
    ResultKind.PARAMETRIC_MAP: "AI heat map: {title}",
    ResultKind.SEGMENTATION: "AI regions: {title}",
}

_FIELDS = {"result": "", "title": "", "model": "", "version": ""}


@dataclass(frozen=True, slots=True)
class ResultOptions:
    """Object kinds, series numbers and series description templates of one destination.

    Templates may use ``{result}`` (the most important finding in words), ``{title}``, ``{model}`` and ``{version}``.
    What is not given keeps its default.

    Raises:
        ValueError: no kind is chosen, a series number is not positive, or a template has an unknown field.
    """

    kinds: tuple[ResultKind, ...] = DEFAULT_KINDS
    series_numbers: Mapping[ResultKind, int] = field(default_factory=dict)
    descriptions: Mapping[ResultKind, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.kinds:
            raise ValueError("choose at least one kind of result object")
        for kind, number in self.series_numbers.items():
            if number < 1:
                raise ValueError(f"series number of {kind.value} must be positive, not {number}")
        for kind, template in self.descriptions.items():
            try:
                template.format(**_FIELDS)
            except (KeyError, IndexError, ValueError) as error:
                raise ValueError(
                    f"series description of {kind.value}: {template!r} may only use "
                    f"{', '.join('{' + name + '}' for name in _FIELDS)}"
                ) from error

    def series_number(self, kind: ResultKind) -> int:
        """Series Number of the objects of ``kind``."""
        return self.series_numbers.get(kind, DEFAULT_SERIES_NUMBERS[kind])

    def description(self, kind: ResultKind, *, result: str, title: str, model: str, version: str) -> str:
        """Series Description of the objects of ``kind``, cut to the 64 characters of VR LO (PS3.5 6.2)."""
        template = self.descriptions.get(kind, DEFAULT_DESCRIPTIONS[kind])
        return template.format(result=result, title=title, model=model, version=version).replace("\\", "/")[:64].strip()

    def variant(self, kind: ResultKind) -> str:
        """What sets objects of ``kind`` apart from the default ones; empty where nothing does.

        Two destinations that label the same result differently get two objects, hence two UIDs: one UID must
        never name two contents.
        """
        number, template = self.series_number(kind), self.descriptions.get(kind, DEFAULT_DESCRIPTIONS[kind])
        if number == DEFAULT_SERIES_NUMBERS[kind] and template == DEFAULT_DESCRIPTIONS[kind]:
            return ""
        return hashlib.sha256(f"{number}\n{template}".encode()).hexdigest()


def options_for(peer: Peer, kinds: tuple[ResultKind, ...]) -> ResultOptions:
    """Objects of ``kinds``, labelled as a destination is configured to receive them."""
    return ResultOptions(kinds=kinds, series_numbers=peer.series_numbers, descriptions=peer.series_descriptions)
