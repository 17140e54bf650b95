"""The training commands, in the order of their use: ``python -m training ingest | validate | train | ...``."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.logging import RichHandler

from dicom_node.inference.backends.choice import Backend
from dicom_node.inference.backends.torch_network import choose_device
from dicom_node.inference.definition import BundleDefinition, BundleError
from dicom_node.lifecycle.inputs import REFERENCE_FILE
from dicom_node.parent import end_with_parent
from training.calibration import calibrate_bundle
from training.checkpoint import ResumeError
from training.configuration import TrainingConfigurationError
from training.cross_validation import cross_validate
from training.data_checks import Check, DataRefusedError, check_data
from training.data_manifest import read_manifest
from training.evaluation import evaluate_bundle
from training.gate import fit_gate, gate_examples
from training.gate_report import measure_gate
from training.ingest import IngestOptions, ingest
from training.labelled_images import DataError
from training.model_card import write_model_card
from training.onnx_export import ParityError, export_onnx
from training.pretraining import pretrain_bundle
from training.reference import write_reference
from training.refit import RefitFolders, refit
from training.reports import CURVES_FILE, write_json
from training.saliency import Phantom, write_saliency
from training.splits import LeakageError
from training.tracking import track_run
from training.training_run import train_bundle
from training.transfer import TransferError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

Model = Annotated[str, typer.Option(help="Name of the bundle: a folder of --models.")]
Models = Annotated[Path, typer.Option(help="Folder of bundles.")]
Data = Annotated[Path, typer.Option(help="Labelled images.")]
Run = Annotated[Path, typer.Option(help="Folder for what a run leaves behind, one subfolder a model.")]

MODELS = Path("models")
RUNS = Path("build/training")
PREPARED = Path("build/data")
STORE = Path("mlruns")

_log = logging.getLogger(__name__)


@app.command("ingest")
def ingest_data(
    model: Model,
    data: Annotated[Path, typer.Option(help="Folder of labelled images, or CSV of DICOM files (path, class).")],
    out: Annotated[Path | None, typer.Option(help="Prepared folder; build/data/MODEL by default.")] = None,
    group_pattern: Annotated[str | None, typer.Option(help="Finds the patient or scan in a file's name.")] = None,
    skip_folder: Annotated[list[str] | None, typer.Option(help="Leave out folders of this name.")] = None,
    test_fraction: Annotated[float, typer.Option(min=0.01, max=0.9, help="Held out where there is no test.")] = 0.2,
    drop_near_duplicates: Annotated[bool, typer.Option(help="Leave out of train what looks like test.")] = False,
    models: Models = MODELS,
) -> None:
    """Bring a data set into one layout, by links, with a manifest of its images."""
    options = IngestOptions(
        group_pattern, tuple(skip_folder or ()), test_fraction, drop_near_duplicates=drop_near_duplicates
    )
    prepared = out or PREPARED / model
    images = ingest(models / model, data, prepared, options)
    _log.info("%d images in %s", len(images), prepared)


@app.command()
def admit(
    model: Model,
    data: Annotated[Path, typer.Option(help="Folder of labelled images.")],
    out: Annotated[Path, typer.Option(help="Prepared folder, with the report of the checks.")],
    models: Models = MODELS,
) -> None:
    """Ingest and validate in one: what is added to other images may lack a class."""
    images = ingest(models / model, data, out, IngestOptions())
    classes = BundleDefinition.load(models / model).manifest.classes
    report = check_data(images, classes, frozenset({Check.MISSING_CLASS}))
    report.write(out.parent)
    if report.refused:
        raise DataRefusedError(f"{model}: the data are refused.")


@app.command("refit")
def refit_bundle(
    model: Model,
    data: Annotated[list[Path], typer.Option(help="A prepared folder; repeat for each.")],
    in_use: Annotated[Path, typer.Option(help="Folder of bundles that holds the one in use.")],
    out: Annotated[Path, typer.Option(help="Folder for everything that is left behind.")],
    models: Models = MODELS,
) -> None:
    """Train a copy of a bundle on more images, and evaluate it beside the one in use; goes on if interrupted."""
    refit(RefitFolders(models / model, in_use / model, out), data)


@app.command()
def validate(
    model: Model,
    data: Annotated[Path | None, typer.Option(help="Prepared folder; build/data/MODEL by default.")] = None,
    waive: Annotated[list[Check] | None, typer.Option(help="Report this, but go on.")] = None,
    models: Models = MODELS,
    runs: Run = RUNS,
) -> None:
    """Refuse data that would mislead: unreadable, twice there, one patient in two splits, a class missing."""
    classes = BundleDefinition.load(models / model).manifest.classes
    report = check_data(read_manifest(data or PREPARED / model), classes, frozenset(waive or ()))
    report.write(runs / model)
    typer.echo(report.text())
    if report.refused:
        raise DataRefusedError(f"{model}: the data are refused; see {runs / model / 'data_report.md'}.")


@app.command()
def pretrain(model: Model, data: Data, models: Models = MODELS, runs: Run = RUNS) -> None:
    """Learn from the images of DATA/train without their labels; `transfer` in train.json takes the checkpoint."""
    path = pretrain_bundle(models / model, data, runs / model, choose_device())
    typer.echo(f'To start from it, put into train.json: "transfer": {{"checkpoint": "{path}"}}')


@app.command()
def train(
    model: Model,
    data: Data,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a training that was interrupted.")] = False,
    track: Annotated[bool, typer.Option("--track", help="Record the run in MLflow, in --store.")] = False,
    store: Annotated[Path, typer.Option(help="Folder of the MLflow store (SQLite) and its artefacts.")] = STORE,
    models: Models = MODELS,
    runs: Run = RUNS,
) -> None:
    """Train a bundle on DATA/train (a folder per class) and write its weights."""
    train_bundle(models / model, data, runs / model, choose_device(), resume=resume)
    if track:
        identifier = track_run(models / model, data, runs / model, store)
        _log.info(
            "recorded as %s; compare with: mlflow ui --backend-store-uri sqlite:///%s/mlflow.db", identifier, store
        )


@app.command()
def crossvalidate(
    model: Model,
    data: Data,
    folds: Annotated[int, typer.Option(min=2, help="Stratified folds of whole patients or scans.")] = 5,
    leave_group_out: Annotated[bool, typer.Option("--leave-group-out", help="Leave each group out in turn.")] = False,
    plots: Annotated[Path | None, typer.Option(help="Folder to draw the pooled curves into, as PNG.")] = None,
    models: Models = MODELS,
    runs: Run = RUNS,
) -> None:
    """Fit and measure a bundle's recipe on every fold; figures per fold and pooled go to crossvalidation.json."""
    report = cross_validate(models / model, data, choose_device(), None if leave_group_out else folds, plots)
    write_json(report, runs / model / "crossvalidation.json")
    for number, fold in enumerate(report["folds"], start=1):
        typer.echo(f"fold {number}: " + ", ".join(f"{k} {_rounded(v)}" for k, v in fold["overall"].items()))
    pooled = report["pooled"]["overall"]
    typer.echo(
        "pooled: " + ", ".join(f"{k} {v['value']:.3f} [{v['low']:.3f}, {v['high']:.3f}]" for k, v in pooled.items())
    )


@app.command()
def calibrate(model: Model, models: Models = MODELS, runs: Run = RUNS) -> None:
    """Choose temperature and operating points on the validation images of the last run; write them to node.yaml."""
    chosen = calibrate_bundle(models / model, runs / model)
    write_json(chosen.model_dump(mode="json", include={"calibration", "findings"}), runs / model / "calibration.json")


@app.command()
def gate(
    model: Model,
    data: Data,
    foreign: Annotated[
        list[str] | None, typer.Option(metavar="KIND=FOLDER", help="Images of a wrong kind to fit with.")
    ] = None,
    other: Annotated[
        list[str] | None, typer.Option(metavar="KIND=FOLDER", help="Images of a wrong kind to measure with.")
    ] = None,
    same: Annotated[
        list[str] | None, typer.Option(metavar="KIND=FOLDER", help="Studies of the right kind from elsewhere.")
    ] = None,
    models: Models = MODELS,
) -> None:
    """Fit the input gate, which knows images of another kind; say what it refuses (docs/gate.json)."""
    foreign_kinds, other_kinds, same_kinds = (_folders(texts or ()) for texts in (foreign, other, same))
    if missing := [str(folder) for folder in foreign_kinds.values() if not folder.is_dir()]:
        raise DataError(f"{missing[0]}: no such folder; say KIND=FOLDER.")
    for kind, folder in {**other_kinds, **same_kinds}.items():
        if not folder.is_dir():
            _log.warning("not measured: %s (%s: no such folder)", kind, folder)
    other_kinds, same_kinds = ({k: v for k, v in kinds.items() if v.is_dir()} for kinds in (other_kinds, same_kinds))
    examples = gate_examples(models / model, data, foreign_kinds)
    fit_gate(models / model, examples)
    report = measure_gate(models / model, data, examples, other_kinds, same_kinds)
    for kind, figures in {"test images": report["false_refusals"], **report["wrong_kinds"]}.items():
        unknown = report["wrong_kinds_unknown"].get(kind)
        again = f", {unknown['refused']} where it was not fitted to them" if unknown else ""
        typer.echo(f"{kind}: {figures['refused']} of {figures['images']} refused{again}")
    for kind, figures in report["studies_elsewhere"].items():
        typer.echo(f"{kind}: {figures['let_by']} of {figures['studies']} studies let by")


@app.command()
def evaluate(
    model: Model,
    data: Data,
    json_: Annotated[Path, typer.Option("--json", help="Where to write the figures.")],
    by_group: Annotated[bool, typer.Option("--by-group", help="Also say how each patient or scan does.")] = False,
    plots: Annotated[Path | None, typer.Option(help="Folder to draw the curves into, as PNG.")] = None,
    models: Models = MODELS,
) -> None:
    """Score a bundle, through the node's own reading, on a folder per class; curves.json is written beside --json."""
    figures, curves = evaluate_bundle(models / model, data, Backend(), by_group, plots)
    write_json(figures, json_)
    json_.with_name(CURVES_FILE).write_text(json.dumps(curves, allow_nan=False) + "\n", encoding="utf-8")


@app.command()
def export(
    model: Model,
    data: Annotated[Path | None, typer.Option(help="Folder per class to compare on, beside noise.")] = None,
    models: Models = MODELS,
    runs: Run = RUNS,
) -> None:
    """Write a bundle's network and Grad-CAM as ONNX, if they say the same as the original."""
    exported = export_onnx(models / model, data)
    write_json({**asdict(exported), "path": exported.path.as_posix()}, runs / model / "onnx.json")


@app.command()
def reference(model: Model, data: Data, models: Models = MODELS) -> None:
    """Write how the pixels of DATA/train are spread, against which a node tells drift (docs/reference.json)."""
    cases = write_reference(models / model, data)
    typer.echo(f"{models / model / REFERENCE_FILE}: {cases} images")


@app.command()
def saliency(
    model: Model,
    phantom: Annotated[Phantom | None, typer.Option(help="A synthetic study to draw on.")] = None,
    images: Annotated[Path | None, typer.Option(help="Images to draw on, which may be shown.")] = None,
    models: Models = MODELS,
) -> None:
    """Draw where a bundle's network looks (docs/saliency/*.png); without images, remove what was drawn before."""
    for path in write_saliency(models / model, phantom, images):
        typer.echo(path)


@app.command()
def card(model: Model, models: Models = MODELS) -> None:
    """Write a bundle's model card from its docs/evaluation.json."""
    write_model_card(models / model)


def _folders(texts: Iterable[str]) -> dict[str, Path]:
    """Read options of the form KIND=FOLDER."""
    return {kind: Path(folder) for kind, _, folder in (text.partition("=") for text in texts)}


def _rounded(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def main() -> None:
    """Run a command; what the user can put right is said in a sentence, with exit status 1."""
    end_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[RichHandler(show_path=False)])
    for talkative in ("onnxscript", "onnx_ir"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    try:
        app()
    except (
        BundleError,
        DataError,
        LeakageError,
        ParityError,
        ResumeError,
        TrainingConfigurationError,
        TransferError,
    ) as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
