from pathlib import Path

import pytest
import torch

from tests.training.images import write_classes
from training.tracking import track_run
from training.training_run import train_bundle


@pytest.fixture
def tracked(bundle: Path, tmp_path: Path) -> tuple[Path, str]:
    write_classes(tmp_path / "data/train", 9)
    train_bundle(bundle, tmp_path / "data", tmp_path / "run", torch.device("cpu"))
    (tmp_path / "data/manifest.csv").write_text("path\n")
    return tmp_path / "store", track_run(bundle, tmp_path / "data", tmp_path / "run", tmp_path / "store")


def test_a_run_is_recorded_with_parameters_curves_and_model(tracked: tuple[Path, str]) -> None:
    from mlflow.tracking import MlflowClient

    store, identifier = tracked
    client = MlflowClient(tracking_uri=f"sqlite:///{store / 'mlflow.db'}")

    run = client.get_run(identifier)

    assert run.info.status == "FINISHED"
    assert run.data.params["epochs"] == "2"
    assert run.data.params["augmentation.rotation_degrees"] == "10.0"
    assert [metric.step for metric in client.get_metric_history(identifier, "validation_loss")] == [1, 2]
    assert 0 <= run.data.metrics["validation_accuracy"] <= 1
    assert "data_manifest_sha256" in run.data.tags
    names = {file.path for file in client.list_artifacts(identifier)}
    assert {"confusion_matrix.png", "confusion_matrix.json", "history.json", "model"} <= names
    assert [file.path for file in client.list_artifacts(identifier, "model/models")] == ["model/models/model.pt"]
    assert (store / "artifacts/tiny" / identifier / "artifacts/confusion_matrix.png").is_file()
