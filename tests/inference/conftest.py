from pathlib import Path

import pytest
import torch

from dicom_node.inference.bundle import Bundle
from tests.inference.bundles import TORCH, write_bundle


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny_bundle(tiny_folder: Path) -> Bundle:
    return Bundle.load(tiny_folder, TORCH)


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> None:
    """Networks this small are only slowed by more, most of all on a busy machine."""
    torch.set_num_threads(1)
