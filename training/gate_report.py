"""Measures a bundle's input gate: which right images are refused wrongly, and which of other kinds rightly."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from dicom_node.domain import ImageStack, NotApplicable
from dicom_node.imaging.stacks import read_stacks
from dicom_node.inference.backends.choice import Backend
from dicom_node.inference.bundle import Bundle
from dicom_node.inference.definition import BundleDefinition
from dicom_node.inference.gate import GATE_FILE, Descriptors, InputGate
from dicom_node.inference.reader import ModelReader
from training.configuration import load_training_configuration
from training.foreign_images import altered, read_stacks_below, synthetic
from training.gate import GateExamples, describe_all, evenly_below, network_inputs
from training.labelled_images import find_labelled_images
from training.model_card import GATE_REPORT_FILE
from training.reports import write_json

TEST_FOLDER = "test"

_MOST = 150
"""Images of a kind; drawn evenly from all."""


def measure_gate(
    folder: Path, data: Path, examples: GateExamples, others: Mapping[str, Path], same: Mapping[str, Path]
) -> dict[str, Any]:
    """Say what the gate refuses, and write ``docs/gate.json``.

    Of the test images, of ``others`` (folders of PNG, JPEG or DICOM files of another kind each) and of kinds that are
    made here. Of ``others``, those that the gate was fitted to are measured again with one that was not. ``same`` are
    folders of studies of the right kind from elsewhere, which are read as the node reads them. Intervals are exact
    (Clopper and Pearson 1934), image by image: a study is refused on the ground of many.
    """
    definition, configuration = BundleDefinition.load(folder), load_training_configuration(folder)
    manifest, preprocessing = definition.manifest, definition.preprocessing()
    found = find_labelled_images(data / TEST_FOLDER, manifest.classes, configuration.class_folders)
    right = list(read_stacks_below([image.path for image in found], manifest.kind))
    made = {**synthetic(0), **altered([stack for stack in right if isinstance(stack, ImageStack)], manifest.kind)}
    read = {name: read_stacks_below(evenly_below(below, _MOST), manifest.kind) for name, below in others.items()}
    kinds = {name: _described(stacks, definition) for name, stacks in {**made, **read}.items()}
    gate = InputGate.load(folder / GATE_FILE)
    report = {
        "model": definition.name,
        "gate_digest": hashlib.sha256((folder / GATE_FILE).read_bytes()).hexdigest(),
        "right_images": len(examples.plain.layout),
        "fitted_to": [*examples.foreign],
        "false_refusals": _refused(gate, describe_all(network_inputs(right, preprocessing))),
        "wrong_kinds": {name: _refused(gate, described) for name, described in kinds.items()},
        "wrong_kinds_unknown": {
            name: _refused(examples.fit(without=name), kinds[name]) for name in others if name in examples.foreign
        },
        "studies_elsewhere": {name: _let_by(folder, below) for name, below in same.items()},
    }
    write_json(report, folder / GATE_REPORT_FILE)
    return report


def _described(stacks: Iterable[ImageStack | NotApplicable], definition: BundleDefinition) -> Descriptors:
    return describe_all(network_inputs(stacks, definition.preprocessing()))


def _refused(gate: InputGate, described: Descriptors) -> dict[str, Any]:
    refused, total = int((gate.strangeness_of(described) > 0).sum()), len(described.layout)
    interval = binomtest(refused, total).proportion_ci()
    return {
        "images": total,
        "refused": refused,
        "value": refused / total,
        "low": float(interval.low),
        "high": float(interval.high),
    }


def _let_by(folder: Path, below: Path) -> dict[str, int]:
    """Read what lies in a folder, a series or images of their own each, as the node does."""
    reader = ModelReader(Bundle.load(folder, Backend("torch"), even_if_disabled=True))
    stacks = _stacks(sorted(path for path in below.iterdir() if path.is_file()), reader)
    refused = 0
    for stack in stacks:
        try:
            reader.class_probabilities(stack)
        except NotApplicable:
            refused += 1
    return {"studies": len(stacks), "let_by": len(stacks) - refused}


def _stacks(paths: Sequence[Path], reader: ModelReader) -> Sequence[ImageStack]:
    return read_stacks(reader.bundle.manifest.kind, paths).stacks
