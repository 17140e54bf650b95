from pathlib import Path

import pytest

from tests.inference.bundles import write_bundle
from training.onnx_export import export_onnx


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with its ONNX files."""
    folder = write_bundle(tmp_path_factory.mktemp("models") / "tiny")
    export_onnx(folder)
    return folder
