"""The training commands: ``python -m training train | calibrate | evaluate | card``."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated

import typer
from rich.logging import RichHandler

from dicom_node.inference.bundle import choose_device
from dicom_node.inference.definition import BundleError
from training.calibration import calibrate_bundle
from training.configuration import TrainingConfigurationError
from training.evaluation import evaluate_bundle
from training.labelled_images import DataError
from training.model_card import write_model_card
from training.splits import LeakageError
from training.training_run import train_bundle

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

Model = Annotated[str, typer.Option(help="Name of the bundle: a folder of --models.")]
Models = Annotated[Path, typer.Option(help="Folder of bundles.")]
Data = Annotated[Path, typer.Option(help="Labelled images.")]
Run = Annotated[Path, typer.Option(help="Folder for what a run leaves behind, one subfolder a model.")]

MODELS = Path("models")
RUNS = Path("build/training")


@app.command()
def train(model: Model, data: Data, models: Models = MODELS, runs: Run = RUNS) -> None:
    """Train a bundle on DATA/train (a folder per class) and write its weights."""
    train_bundle(models / model, data, runs / model, choose_device())


@app.command()
def calibrate(model: Model, models: Models = MODELS, runs: Run = RUNS) -> None:
    """Choose temperature and operating points on the validation images of the last run; write them to node.yaml."""
    calibrate_bundle(models / model, runs / model)


@app.command()
def evaluate(
    model: Model,
    data: Data,
    json_: Annotated[Path, typer.Option("--json", help="Where to write the figures.")],
    by_group: Annotated[bool, typer.Option("--by-group", help="Also say how each patient or scan does.")] = False,
    models: Models = MODELS,
) -> None:
    """Score a bundle, through the node's own reading, on a folder per class."""
    figures = evaluate_bundle(models / model, data, choose_device(), by_group)
    json_.parent.mkdir(parents=True, exist_ok=True)
    json_.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


@app.command()
def card(model: Model, models: Models = MODELS) -> None:
    """Write a bundle's model card from its docs/evaluation.json."""
    write_model_card(models / model)


def main() -> None:
    """Run a command; what the user can put right is said in a sentence, with exit status 1."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[RichHandler(show_path=False)])
    try:
        app()
    except (BundleError, DataError, LeakageError, TrainingConfigurationError) as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
