from pathlib import Path

import pytest
import torch

from tests.inference.bundles import MANIFEST, write_bundle

TRAIN_JSON = """{
  "seed": 1, "epochs": 2, "samples_per_epoch": 32, "batch_size": 16, "ema_decay": 0.5,
  "validation": {"fraction": 0.34, "perturbed_copies": 1}
}"""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A tiny radiograph bundle with the classes normal and tumor."""
    manifest = {**MANIFEST, "kind": "radiograph", "input": {"channels": 1}}
    folder = write_bundle(tmp_path / "models" / "tiny", manifest=manifest)
    (folder / "configs/train.json").write_text(TRAIN_JSON)
    return folder


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> None:
    """Networks this small are only slowed by more, most of all on a busy machine."""
    torch.set_num_threads(1)
