"""What can be wrong with an image file, one error class per meaning."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

_NAMED = 10


class UnreadableImage(Exception):
    """A file holds no image that can be decoded.

    ``path`` is the file; ``reason`` says in words what is wrong with it; ``sop_instance_uid`` is empty where the
    file is so broken, or so plain, that it has none.
    """

    def __init__(self, path: Path, reason: str, sop_instance_uid: str = "") -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason
        self.sop_instance_uid = sop_instance_uid

    @property
    def name(self) -> str:
        """The SOP Instance UID, or the file's name where there is none."""
        return self.sop_instance_uid or self.path.name


class UnreadableSeries(Exception):
    """None of the files of a series holds an image that can be decoded; ``problems`` has one entry a file."""

    def __init__(self, problems: Sequence[UnreadableImage]) -> None:
        super().__init__(" ".join(left_out_sentences(problems)))
        self.problems = tuple(problems)


def left_out_sentences(problems: Sequence[UnreadableImage]) -> tuple[str, ...]:
    """Say for a study's outcome which images were left out: one sentence a reason, naming up to ten images each."""
    names: dict[str, list[str]] = defaultdict(list)
    for problem in problems:
        names[problem.reason].append(problem.name)
    return tuple(_sentence(reason, affected) for reason, affected in names.items())


def _sentence(reason: str, names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"Image {names[0]} was left out: {reason}."
    more = "" if len(names) <= _NAMED else f" and {len(names) - _NAMED} more"
    return f"{len(names)} images were left out: {reason} ({', '.join(names[:_NAMED])}{more})."
