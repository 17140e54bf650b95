"""A training that was killed goes on, and ends with the weights that it would have ended with."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from dicom_node.inference.definition import WEIGHTS_FILE, BundleDefinition
from tests.training.images import write_classes
from training.checkpoint import Checkpoint, ResumeError, training_fingerprint
from training.configuration import load_training_configuration
from training.labelled_images import find_labelled_images
from training.training_run import train_bundle

CPU = torch.device("cpu")
TRAIN = """
import sys, torch
from pathlib import Path
from training.training_run import train_bundle
torch.set_num_threads(1)
train_bundle(*map(Path, sys.argv[1:4]), torch.device("cpu"))
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_classes(tmp_path / "data/train", 12)
    return tmp_path / "data"


def _configure(bundle: Path, **changes: object) -> None:
    path = bundle / "configs/train.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "augmentation": {"mixup_alpha": 0.2}, **changes}))


def _weights(bundle: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = torch.load(bundle / WEIGHTS_FILE, weights_only=True)
    return weights


def _kill_once_there(bundle: Path, data: Path, run: Path, checkpoint: str) -> None:
    """Train in a process of its own and kill it, with no warning, after it has written this checkpoint."""
    process = subprocess.Popen([sys.executable, "-c", TRAIN, bundle, data, run], stderr=subprocess.PIPE)
    patience = time.monotonic() + 60
    while not (run / "checkpoints" / checkpoint).is_file():
        assert process.poll() is None, process.stderr and process.stderr.read().decode()
        assert time.monotonic() < patience
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("validation", "killed_after"),
    [({"fraction": 0.34, "perturbed_copies": 1}, "split1.pt"), ({"folds": 2, "perturbed_copies": 1}, "split2.pt")],
    ids=["one split", "folds"],
)
def test_a_killed_training_ends_with_the_same_weights(
    bundle: Path, data: Path, tmp_path: Path, validation: dict[str, float], killed_after: str
) -> None:
    _configure(bundle, epochs=8, validation=validation)
    train_bundle(bundle, data, tmp_path / "whole", CPU)
    expected, said = _weights(bundle), (tmp_path / "whole/history.json").read_text()
    (bundle / WEIGHTS_FILE).unlink()

    _kill_once_there(bundle, data, tmp_path / "killed", killed_after)
    assert not (bundle / WEIGHTS_FILE).exists()
    train_bundle(bundle, data, tmp_path / "killed", CPU, resume=True)

    resumed = _weights(bundle)
    assert resumed.keys() == expected.keys()
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)
    assert (tmp_path / "killed/history.json").read_text() == said
    assert not (tmp_path / "killed/checkpoints").exists()


def test_a_checkpoint_of_another_configuration_is_refused(bundle: Path, data: Path, tmp_path: Path) -> None:
    definition, images = BundleDefinition.load(bundle), find_labelled_images(data / "train", ("normal", "tumor"), {})
    checkpoint = tmp_path / "run/checkpoints/split1.pt"
    fingerprint = training_fingerprint(definition, load_training_configuration(bundle), images)
    Checkpoint(checkpoint, fingerprint).save({"epochs": []})
    assert Checkpoint(checkpoint, fingerprint).load() == {"epochs": [], "fingerprint": fingerprint}
    _configure(bundle, epochs=51)

    with pytest.raises(ResumeError, match="another configuration"):
        train_bundle(bundle, data, tmp_path / "run", CPU, resume=True)


def test_a_checkpoint_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "split1.pt").write_bytes(b"half a file")

    with pytest.raises(ResumeError, match="Train without --resume"):
        Checkpoint(tmp_path / "split1.pt", "").load()
