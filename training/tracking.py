"""Training runs in a local MLflow store, to compare them with ``mlflow ui``."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from dicom_node.inference.definition import INFERENCE_FILE, MANIFEST_FILE, WEIGHTS_FILE, BundleDefinition
from training.configuration import TRAINING_FILE, load_training_configuration
from training.data_manifest import MANIFEST_FILE as DATA_MANIFEST_FILE
from training.evaluation import overall_figures
from training.plots import draw_confusion_matrix
from training.scores import Scores
from training.training_run import HISTORY_FILE, VALIDATION_FILE, ValidationLogits

STORE_FILE = "mlflow.db"
ARTIFACTS_FOLDER = "artifacts"


def track_run(folder: Path, data: Path, run: Path, store: Path) -> str:
    """Record the last training run of a bundle.

    Parameters are those of ``train.json``; metrics the curves of each epoch (of each fold, and of the final fit)
    and the uncalibrated validation figures; artefacts the confusion matrix, configuration, weights and history.

    Args:
        folder: the bundle, just trained.
        data: what it was trained on; the digest of its manifest, where it has one, becomes a tag.
        run: the run's folder.
        store: folder of the SQLite store ``mlflow.db`` and of the artefacts.

    Returns:
        The run's id in MLflow.
    """
    # Nothing is to be sent anywhere; MLflow reads this when it is imported, which takes seconds.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.tracking import MlflowClient

    store.mkdir(parents=True, exist_ok=True)
    client = MlflowClient(tracking_uri=f"sqlite:///{store.resolve() / STORE_FILE}")
    experiment = client.get_experiment_by_name(folder.name)
    artifacts = (store.resolve() / ARTIFACTS_FOLDER / folder.name).as_uri()
    identifier = experiment.experiment_id if experiment else client.create_experiment(folder.name, artifacts)
    tracked = client.create_run(identifier).info
    definition = BundleDefinition.load(folder)
    said = ValidationLogits.load(run)
    as_they_are = ~said.perturbed
    scores = Scores(
        softmax(said.logits[as_they_are], axis=1), said.labels[as_they_are], tuple(said.groups[as_they_are])
    )
    everything = np.arange(len(scores.labels))
    figures = {f"validation_{name}": figure(everything) for name, figure in overall_figures(scores).items()}
    history = json.loads((run / HISTORY_FILE).read_text(encoding="utf-8"))
    at = tracked.start_time
    client.log_batch(
        tracked.run_id,
        metrics=[
            *(Metric(name, value, at, 0) for name, value in figures.items() if not np.isnan(value)),
            *(Metric(name, value, at, step) for name, value, step in _curves(history)),
        ],
        params=[Param(name, value) for name, value in _parameters(folder, definition)],
        tags=[RunTag(name, value) for name, value in _tags(data, definition).items()],
    )
    counts = scores.confusion_matrix()
    draw_confusion_matrix(counts, definition.manifest.classes, run / "confusion_matrix.png")
    client.log_dict(
        tracked.run_id,
        {"classes": list(definition.manifest.classes), "counts": counts.tolist()},
        "confusion_matrix.json",
    )
    for path in (run / "confusion_matrix.png", run / HISTORY_FILE, run / VALIDATION_FILE):
        client.log_artifact(tracked.run_id, str(path))
    for file in (WEIGHTS_FILE, TRAINING_FILE, INFERENCE_FILE, MANIFEST_FILE):
        client.log_artifact(tracked.run_id, str(folder / file), f"model/{file.parent.as_posix()}")
    client.set_terminated(tracked.run_id)
    return str(tracked.run_id)


def _parameters(folder: Path, definition: BundleDefinition) -> Iterator[tuple[str, str]]:
    configuration = load_training_configuration(folder).model_dump(mode="json", exclude={"class_folders"})
    yield "network", str(definition.inference["network_def"].get("_target_", "network"))
    yield from _flat(configuration)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, str(value)


def _curves(history: list[list[dict[str, float | None]]]) -> Iterator[tuple[str, float, int]]:
    for index, epochs in enumerate(history):
        # Where there is more than one fit, the last is to all images.
        prefix = f"fold_{index + 1}/" if len(history) > 1 and index < len(history) - 1 else ""
        for epoch in epochs:
            for name in ("training_loss", "validation_loss", "validation_auc"):
                value = epoch[name]
                if value is not None and not np.isnan(value):
                    yield prefix + name, value, int(epoch["number"] or 0)


def _tags(data: Path, definition: BundleDefinition) -> dict[str, str]:
    tags = {"version": definition.version}
    manifest = data / DATA_MANIFEST_FILE
    if manifest.is_file():
        tags["data_manifest_sha256"] = hashlib.sha256(manifest.read_bytes()).hexdigest()
    return tags
