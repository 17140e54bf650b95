"""A bundle's model card, written from its metadata, configuration and evaluation."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dicom_node.inference.definition import MODEL_CARD_FILE, BundleDefinition
from training.configuration import TrainingConfiguration, load_training_configuration
from training.progress import TRAINING_FILE

EVALUATION_FILE = Path("docs/evaluation.json")
GATE_REPORT_FILE = Path("docs/gate.json")
SALIENCY_FOLDER = Path("docs/saliency")

_SAMPLING = {
    "class": "classes drawn equally often",
    "class and group": "classes drawn equally often, and within them small scans more often than their size",
    "image": "drawn as they come",
}


def write_model_card(folder: Path) -> None:
    """Write ``docs/README.md`` from ``docs/evaluation.json`` and the bundle's configuration."""
    (folder / MODEL_CARD_FILE).write_text(model_card(folder), encoding="utf-8")


def model_card(folder: Path) -> str:
    """Return the card in Markdown."""
    definition = BundleDefinition.load(folder)
    evaluation = json.loads((folder / EVALUATION_FILE).read_text(encoding="utf-8"))
    configuration = load_training_configuration(folder)
    metadata = definition.metadata
    sections = [
        f"# {definition.manifest.title}",
        f"`{definition.name}` {definition.version}, weights SHA-256 `{evaluation['weights_digest']}`."
        " This page is generated; see the last section.",
        _section("Intended use", str(metadata["intended_use"])),
        _section("Not for", _bullets(metadata.get("not_intended_for", []))),
        _section("Data", _bullets(metadata.get("data", []))),
        _section("Splits and leakage", _bullets(metadata.get("splits", []))),
        _section("Training", _training(definition, configuration)),
        _section("How it does on the test images", _performance(definition, evaluation)),
        _section("Calibration", _calibration(definition, evaluation)),
        _section("Input gate", _gate(folder / GATE_REPORT_FILE)),
        _section("Where it looks", _saliency(folder)),
        _section("Known failures and limits", _bullets(metadata.get("limits", []))),
        _section("Reproduce", _reproduction(definition)),
    ]
    return "\n\n".join(sections) + "\n"


def _performance(definition: BundleDefinition, evaluation: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{name} {count}" for name, count in evaluation["images_per_class"].items())
    parts = [
        f"{evaluation['images']} images ({counts}){_origin(evaluation)}. Brackets hold the 95 % interval of 1000"
        " bootstrap samples.",
        _table(("most probable class", "value"), [(_words(k), _estimate(v)) for k, v in evaluation["overall"].items()]),
        "Confusion matrix (rows: truth, columns: most probable class):",
        _table(
            ("", *definition.manifest.classes),
            [
                (name, *map(str, row))
                for name, row in zip(definition.manifest.classes, evaluation["confusion_matrix"], strict=True)
            ],
        ),
    ]
    for finding in definition.manifest.findings:
        figures = evaluation["findings"][finding.name]
        ranked = ", ".join(
            f"{_words(name)} {_estimate(figures[name])}" for name in ("roc_auc", "pr_auc", "brier", "ece")
        )
        parts.append(f"### {finding.label}\n\n{ranked}. The node holds it against `{finding.operating_point}`.")
        parts.append(_operating_points(figures["operating_points"]))
        if finding.name in evaluation.get("by_group", {}):
            parts.append(_by_group(evaluation["by_group"][finding.name]))
    return "\n\n".join(parts)


def _origin(evaluation: Mapping[str, Any]) -> str:
    if evaluation["groups"] == evaluation["images"]:
        return "; which patient each is of is not known"
    groups = evaluation["groups"]
    return f" of {groups} patients or scans, none of them in training; these are drawn whole for the intervals"


def _operating_points(points: Mapping[str, Mapping[str, Any]]) -> str:
    names = ("recall", "specificity", "precision", "f1", "accuracy")
    rows = [
        (name, f"{point['threshold']:.4f}", *(_estimate(point[figure]) for figure in names))
        for name, point in points.items()
    ]
    return _table(("operating point", "threshold", *names), rows)


def _by_group(rows: Sequence[Mapping[str, Any]]) -> str:
    return "By scan:\n\n" + _table(
        ("scan", "images", "has the finding", "mean probability", "images called"),
        [
            (
                str(row["group"]),
                str(row["images"]),
                "yes" if row["positive"] else "no",
                f"{row['mean_probability']:.2f}",
                f"{row['called']:.0%}",
            )
            for row in rows
        ],
    )


def _training(definition: BundleDefinition, configuration: TrainingConfiguration) -> str:
    network = definition.inference["network_def"].get("_target_", "network").rpartition(".")[2]
    validation = configuration.validation
    if validation.folds is not None:
        chosen = f"{validation.folds}-fold cross-validation over groups; the weights are then fitted to all images"
    elif validation.split is not None:
        chosen = f"the `{validation.split}` part of the data"
    else:
        chosen = f"{validation.fraction:.0%} of the training groups, held out"
    weighted = ", the loss weighted by class" if configuration.class_weights else ""
    drawn = _SAMPLING[configuration.sampling] + weighted
    return (
        f"{network} from {_start(configuration)}, {configuration.epochs} epochs of"
        f" {configuration.samples_per_epoch} images, {drawn}; the parameters are in `configs/train.json`."
        " Epoch, temperature and operating points were chosen on"
        f" {chosen}, with the images as they are and in randomly perturbed copies.\n\n"
        + _history(definition.folder / TRAINING_FILE)
    )


def _history(path: Path) -> str:
    """Say how each epoch went; the last fit of a cross-validation is to all images, and has none to validate on."""
    if not path.is_file():
        return "How its epochs went was not kept."
    fits = json.loads(path.read_text(encoding="utf-8"))["fits"]
    names = ("training_loss", "validation_loss", "validation_auc")
    rows = [
        (
            *([f"{number} of {len(fits)}"] if len(fits) > 1 else []),
            str(epoch["number"]),
            *("" if epoch[name] is None else f"{epoch[name]:.3f}" for name in names),
        )
        for number, epochs in enumerate(fits, start=1)
        for epoch in epochs
    ]
    header = (*(["fit"] if len(fits) > 1 else []), "epoch", "training loss", "validation loss", "validation ROC AUC")
    return _table(header, rows)


def _start(configuration: TrainingConfiguration) -> str:
    if configuration.transfer is None:
        return "random weights"
    if configuration.transfer.package is not None:
        return f"the weights of the Python package `{configuration.transfer.package}`"
    return "a checkpoint of its own"


def _calibration(definition: BundleDefinition, evaluation: Mapping[str, Any]) -> str:
    temperature = definition.manifest.calibration.temperature
    return (
        f"Temperature scaling of the logits, T = {temperature:.4f}, fitted on validation images with every class"
        f" weighing the same. Expected calibration error on the test images: {_estimate(evaluation['overall']['ece'])}."
    )


def _gate(path: Path) -> str:
    """Say what the input gate refuses."""
    if not path.is_file():
        return "None: images of any kind are read."
    report = json.loads(path.read_text(encoding="utf-8"))
    unknown = report["wrong_kinds_unknown"]
    rows = [
        (
            name,
            str(row["images"]),
            _estimate(row) if name in report["fitted_to"] else "",
            _estimate(unknown[name]) if name in unknown else "" if name in report["fitted_to"] else _estimate(row),
        )
        for name, row in report["wrong_kinds"].items()
    ]
    elsewhere = "".join(
        f" Of {row['studies']} studies or images of another source ({name}) {row['let_by']} are let by."
        for name, row in report["studies_elsewhere"].items()
    )
    right = report["false_refusals"]
    return (
        "Images that do not look like those it was trained on are refused, and the study is *not applicable*. The gate"
        f" was fitted to {report['right_images']} images that the model learnt from against images of other kinds; its"
        " limit, by five-fold cross-validation over patients or scans, refuses 1 % of the right ones, also when"
        " strongly perturbed. Brackets hold the exact 95 % interval, image by image; a CT series or a slide is refused"
        f" on the ground of many images.\n\nOf the {right['images']} test images it refuses wrongly"
        f" {_estimate(right)}.{elsewhere}\n\nOf other kinds it refuses:\n\n"
        + _table(("kind", "images", "fitted to others of this kind", "knows nothing of this kind"), rows)
    )


def _saliency(folder: Path) -> str:
    pictures = sorted((folder / SALIENCY_FOLDER).glob("*.png"))
    if not pictures:
        return "No example is shown: the images that it learnt from are not handed on, and there are no others."
    origin = ""
    if all(picture.name.startswith("phantom_") for picture in pictures):
        origin = (
            " The image is synthetic, since those that the model learnt from are not handed on: it shows how a heat map"
            " looks, and not that disease is found."
        )
    shown = "\n\n".join(f"![{picture.stem}](saliency/{picture.name})" for picture in pictures)
    return f"Grad-CAM of each finding, on the image on which it is most probable.{origin}\n\n{shown}"


def _reproduction(definition: BundleDefinition) -> str:
    name = definition.name
    return (
        f"```\ndvc repro export@{name}\n```\n\nruns ingest, validate, train, calibrate, gate, evaluate and export with"
        " the parameters of `params.yaml`, which says where the data lie; `docs/training.md` names the command of each."
        " The data hold `train` and `test`, each with a folder per class, and `index.csv` naming each image's patient"
        " or scan in the column `group`."
    )


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}"


def _bullets(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _estimate(estimate: Mapping[str, float]) -> str:
    if estimate["value"] is None or math.isnan(estimate["value"]):
        return "undefined"
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


def _words(name: str) -> str:
    return {"roc_auc": "ROC AUC", "pr_auc": "PR AUC", "ece": "calibration error (ECE)", "f1": "F1"}.get(name, name)
