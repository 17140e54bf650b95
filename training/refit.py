"""All that makes a new version of a bundle from labelled images, in one process, since each takes long to start."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dicom_node.inference.backends.choice import Backend
from dicom_node.inference.backends.torch_network import choose_device
from dicom_node.inference.definition import BundleDefinition
from dicom_node.manifest import ImageKind
from training.calibration import calibrate_bundle
from training.collection import collect
from training.data_checks import DataRefusedError, check_data
from training.evaluation import evaluate_bundle
from training.model_card import EVALUATION_FILE, write_model_card
from training.progress import TRAINING_FILE
from training.reference import write_reference
from training.reports import CURVES_FILE, write_json
from training.training_run import train_bundle

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RefitFolders:
    """Where things lie: the new bundle, the one in use, and below ``out`` the data collected, the run and a figure."""

    bundle: Path
    in_use: Path
    out: Path

    @property
    def data(self) -> Path:
        """The links to all images."""
        return self.out / "data"

    @property
    def run(self) -> Path:
        """What training leaves behind."""
        return self.out / "runs" / self.bundle.name

    @property
    def in_use_evaluation(self) -> Path:
        """The evaluation of the bundle in use, on the same test images."""
        return self.out / "in_use.json"


def refit(folders: RefitFolders, prepared: Sequence[Path]) -> None:
    """Train the new bundle on prepared folders, calibrate it, and evaluate it and the one in use on the same images.

    An interrupted refit is run again: training goes on from its last epoch, and everything else is done anew.

    Raises:
        DataRefusedError: the images, taken together, must not be trained on.
    """
    definition = BundleDefinition.load(folders.bundle)
    shutil.rmtree(folders.data, ignore_errors=True)
    report = check_data(collect(prepared, folders.data), definition.manifest.classes)
    report.write(folders.run)
    if report.refused:
        refused = [objection.sentence for objection in report.objections if objection.refused]
        raise DataRefusedError(f"The images are refused: {' '.join(refused)}")
    if not (folders.bundle / TRAINING_FILE).is_file():  # else it had ended
        train_bundle(folders.bundle, folders.data, folders.run, choose_device(), resume=True)
    calibrate_bundle(folders.bundle, folders.run)
    test = folders.data / "test"
    _log.info("evaluating both versions")
    figures, curves = evaluate_bundle(folders.bundle, test, Backend(), by_group=True)
    write_json(figures, folders.bundle / EVALUATION_FILE)
    (folders.bundle / EVALUATION_FILE).with_name(CURVES_FILE).write_text(json.dumps(curves) + "\n", encoding="utf-8")
    write_json(evaluate_bundle(folders.in_use, test, Backend(), by_group=False)[0], folders.in_use_evaluation)
    if definition.manifest.kind is not ImageKind.SLIDE:
        write_reference(folders.bundle, folders.data)
    write_model_card(folders.bundle)
