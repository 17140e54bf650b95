"""What a model says of labelled images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dicom_node.manifest import BundleManifest, FindingDefinition
from training.metrics import DoubleArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What is said of labelled images: probabilities (N, classes), labels (N,) and groups (N,)."""

    probabilities: DoubleArray
    labels: IntArray
    groups: tuple[str, ...]

    def of_finding(self, manifest: BundleManifest, finding: FindingDefinition) -> tuple[IntArray, DoubleArray]:
        """Return which images have the finding (N,), and its probability (N,)."""
        positive = [manifest.classes.index(name) for name in finding.classes]
        return np.isin(self.labels, positive).astype(np.int64), self.probabilities[:, positive].sum(axis=1)

    def confusion_matrix(self) -> IntArray:
        """Count (classes, classes): rows are the true class, columns the most probable one."""
        classes = self.probabilities.shape[1]
        flat = self.labels * classes + self.probabilities.argmax(axis=1)
        return np.bincount(flat, minlength=classes * classes).reshape(classes, classes)
