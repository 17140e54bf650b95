"""What speaks against training on a data set, decided from its manifest alone."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import combinations
from pathlib import Path

from training.data_manifest import ManifestImage
from training.fingerprint import near_pairs
from training.labelled_images import DataError

LEAST_IMAGES = 10
"""Of a class in a split; fewer say nothing about it."""

GREATEST_IMBALANCE = 20
_NAMED = 10


class DataRefusedError(DataError):
    """A data set must not be trained on as it is; the text sums up why."""


class Check(StrEnum):
    """What is looked for."""

    UNREADABLE = "unreadable"
    DUPLICATE = "duplicate"
    CONTRADICTION = "contradiction"
    NEAR_DUPLICATE = "near-duplicate"
    SHARED_GROUP = "shared-group"
    MISSING_CLASS = "missing-class"
    BALANCE = "balance"


@dataclass(frozen=True, slots=True)
class Objection:
    """One thing found. ``refused`` says whether training must not go on; ``images`` names all that are concerned."""

    check: Check
    sentence: str
    images: tuple[str, ...]
    refused: bool


@dataclass(frozen=True, slots=True)
class DataReport:
    """The counts of a data set (split, then class), its groups per split, and what was found."""

    images: Mapping[str, Mapping[str, int]]
    groups: Mapping[str, int]
    objections: tuple[Objection, ...]

    @property
    def refused(self) -> bool:
        """Whether training must not go on."""
        return any(objection.refused for objection in self.objections)

    def text(self) -> str:
        """The report for people, in Markdown."""
        lines = ["# Data report", "", "Refused." if self.refused else "Accepted.", ""]
        for split, classes in self.images.items():
            counts = ", ".join(f"{name} {count}" for name, count in classes.items())
            lines.append(f"- {split}: {sum(classes.values())} images ({counts}), {self.groups[split]} groups known")
        for objection in self.objections:
            lines += ["", f"## {objection.check} ({'refused' if objection.refused else 'noted'})", ""]
            lines.append(objection.sentence)
            lines += [f"- {name}" for name in objection.images[:_NAMED]]
            if len(objection.images) > _NAMED:
                lines.append(f"- and {len(objection.images) - _NAMED} more, in the JSON report")
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> None:
        """Write ``data_report.json`` and ``data_report.md``."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {"refused": self.refused, **asdict(self)}
        (folder / "data_report.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        (folder / "data_report.md").write_text(self.text(), encoding="utf-8")


def check_data(
    images: Sequence[ManifestImage], classes: Sequence[str], waived: frozenset[Check] = frozenset()
) -> DataReport:
    """Look a manifest over; what is ``waived`` is still reported, but not refused."""
    found = [
        *_unreadable(images),
        *_duplicates(images),
        *_near_duplicates(images),
        *_shared_groups(images),
        *_class_counts(images, classes),
    ]
    objections = tuple(
        Objection(o.check, o.sentence + (" Waived." if o.refused and o.check in waived else ""), o.images, False)
        if o.check in waived
        else o
        for o in found
    )
    splits = sorted({image.split for image in images})
    return DataReport(
        {split: _counts(images, classes, split) for split in splits},
        {split: len({i.group for i in images if i.split == split and i.group}) for split in splits},
        objections,
    )


def _unreadable(images: Sequence[ManifestImage]) -> list[Objection]:
    broken = tuple(f"{image.path}: {image.problem}" for image in images if image.problem)
    if not broken:
        return []
    return [Objection(Check.UNREADABLE, f"{len(broken)} images cannot be read: repair or remove them.", broken, True)]


def _duplicates(images: Sequence[ManifestImage]) -> list[Objection]:
    by_digest: dict[str, list[ManifestImage]] = defaultdict(list)
    for image in images:
        by_digest[image.sha256].append(image)
    sets = [same for same in by_digest.values() if len(same) > 1]
    across = [same for same in sets if len({image.split for image in same}) > 1]
    within = [same for same in sets if len({image.split for image in same}) == 1]
    contradicting = [same for same in sets if len({image.class_name for image in same}) > 1]
    kinds = (
        (
            Check.CONTRADICTION,
            contradicting,
            "files are there under more than one class: their label is unknown.",
            True,
        ),
        (
            Check.DUPLICATE,
            across,
            "files are there in more than one split: the test would be of what was learnt.",
            True,
        ),
        (Check.DUPLICATE, within, "files are there twice in one split: they count double.", False),
    )
    return [
        Objection(check, f"{len(sets)} {what}", tuple(" = ".join(i.path for i in same) for same in sets), refused)
        for check, sets, what, refused in kinds
        if sets
    ]


def _near_duplicates(images: Sequence[ManifestImage]) -> list[Objection]:
    readable = [image for image in images if image.fingerprint]
    pairs: list[str] = []
    for left, right in combinations(sorted({image.split for image in readable}), 2):
        a = [image for image in readable if image.split == left]
        b = [image for image in readable if image.split == right]
        near = near_pairs([image.fingerprint for image in a], [image.fingerprint for image in b])
        pairs += [f"{a[i].path} ~ {b[j].path}" for i, j in near if a[i].sha256 != b[j].sha256]
    if not pairs:
        return []
    sentence = (
        f"{len(pairs)} pairs of images look the same and lie in different splits: probably one patient, or one image"
        " saved twice. Give them one group and split, or ingest with --drop-near-duplicates."
    )
    return [Objection(Check.NEAR_DUPLICATE, sentence, tuple(pairs), True)]


def _shared_groups(images: Sequence[ManifestImage]) -> list[Objection]:
    splits: dict[str, set[str]] = defaultdict(set)
    for image in images:
        if image.group:
            splits[image.group].add(image.split)
    shared = tuple(f"{group}: {', '.join(sorted(of))}" for group, of in sorted(splits.items()) if len(of) > 1)
    if not shared:
        return []
    sentence = f"{len(shared)} patients or scans have images in more than one split: move each to one."
    return [Objection(Check.SHARED_GROUP, sentence, shared, True)]


def _class_counts(images: Sequence[ManifestImage], classes: Sequence[str]) -> list[Objection]:
    objections = []
    for split in ("train", "valid", "test"):
        counts = _counts(images, classes, split)
        if split == "valid" and not any(counts.values()):
            continue
        missing = tuple(name for name, count in counts.items() if count == 0)
        few = tuple(f"{name}: {count}" for name, count in counts.items() if 0 < count < LEAST_IMAGES)
        if missing:
            sentence = f"{split} has no image of {', '.join(missing)}."
            objections.append(Objection(Check.MISSING_CLASS, sentence, (), True))
        elif max(counts.values()) > GREATEST_IMBALANCE * min(counts.values()):
            sentence = f"In {split} one class has more than {GREATEST_IMBALANCE} times the images of another."
            objections.append(Objection(Check.BALANCE, sentence, (), False))
        if few:
            sentence = f"{split} has fewer than {LEAST_IMAGES} images of a class: figures for it will say little."
            objections.append(Objection(Check.BALANCE, sentence, few, False))
    return objections


def _counts(images: Sequence[ManifestImage], classes: Sequence[str], split: str) -> dict[str, int]:
    counted = Counter(image.class_name for image in images if image.split == split)
    return {name: counted[name] for name in classes}
