"""Models run as was decided, changed while they are loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicom_node.domain import Evaluation, ImagePlane, ImageStack, ResultKind
from dicom_node.inference.deployment import Deployment, Shadow
from dicom_node.inference.models import Models
from dicom_node.results.identity import ResultIdentity
from tests.inference.bundles import MANIFEST, TORCH, write_bundle

POINTS = {"balanced": {"threshold": 0.0}, "rule_in": {"threshold": 1.0}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    finding: dict[str, Any] = {**MANIFEST["findings"][0], "operating_points": POINTS}
    write_bundle(tmp_path / "models" / "tiny", manifest={**MANIFEST, "findings": [finding]})
    return tmp_path / "models"


@pytest.fixture
def models(folder: Path) -> Models:
    loaded = Models(folder, TORCH)
    loaded.load()
    return loaded


@pytest.fixture
def newer(folder: Path, tmp_path: Path) -> Path:
    bundle = tmp_path / "versions" / "1" / "models" / "tiny"
    shutil.copytree(folder / "tiny", bundle)
    metadata = bundle / "configs/metadata.json"
    metadata.write_text(json.dumps(json.loads(metadata.read_text()) | {"version": "1.2.3+site.1"}))
    return bundle


def _evaluation(models: Models) -> tuple[str, Evaluation]:
    plane = ImagePlane(sop_instance_uid="1", sop_class_uid="2", rows=32, columns=32)
    stack = ImageStack(np.zeros((1, 32, 32), np.float32), (plane,), hounsfield=True)
    (finding,) = models.reader("tiny").read(stack, "1").findings
    return finding.operating_point_name, finding.evaluation


def test_another_operating_point_is_taken_up_and_named_with_the_network_kept(models: Models) -> None:
    network = models.reader("tiny").bundle.network
    assert _evaluation(models) == ("balanced", Evaluation.PRESENT)

    assert models.deploy({"tiny": Deployment(operating_points={"tumor": "rule_in"})}) == ("tiny",)

    assert _evaluation(models) == ("rule_in", Evaluation.ABSENT)
    assert models.reader("tiny").bundle.network is network


def test_another_operating_point_makes_other_objects_and_the_own_one_the_former_again(models: Models) -> None:
    def uid() -> str:
        return ResultIdentity("1", "d", models.reader("tiny").bundle.identity, "2").sop_instance_uid(
            ResultKind.SECONDARY_CAPTURE
        )

    installed = uid()

    models.deploy({"tiny": Deployment(operating_points={"tumor": "rule_in"})})
    decided = uid()
    models.deploy({"tiny": Deployment(operating_points={"tumor": "balanced"})})

    assert decided != installed
    assert uid() == installed


def test_what_was_decided_already_is_no_change(models: Models) -> None:
    decided = {"tiny": Deployment(operating_points={"tumor": "rule_in"})}
    models.deploy(decided)

    assert models.deploy(decided) == ()


def test_a_point_that_the_version_does_not_have_is_passed_over(models: Models) -> None:
    models.deploy({"tiny": Deployment(operating_points={"tumor": "gone"})})

    assert _evaluation(models)[0] == "balanced"


def test_another_version_reads_and_the_former_one_again(models: Models, newer: Path) -> None:
    models.deploy({"tiny": Deployment(folder=newer)})
    assert models.reader("tiny").bundle.version == "1.2.3+site.1"

    models.deploy({})
    assert models.reader("tiny").bundle.version == "1.2.3"


def test_a_version_whose_files_are_gone_makes_the_model_unavailable_and_going_back_mends_it(
    models: Models, newer: Path
) -> None:
    shutil.rmtree(newer)

    models.deploy({"tiny": Deployment(folder=newer)})
    assert "cannot be read" in models.unavailable["tiny"]

    models.deploy({})
    assert models.unavailable == {}
    assert models.reader("tiny").bundle.version == "1.2.3"


def test_a_model_that_was_off_at_the_start_is_loaded_when_it_is_switched_on(folder: Path) -> None:
    models = Models(folder, TORCH, deployments={"tiny": Deployment(enabled=False)})
    models.load()
    with pytest.raises(KeyError):
        models.reader("tiny")

    models.deploy({"tiny": Deployment(enabled=True)})

    assert models.manifests["tiny"].enabled
    assert models.reader("tiny")


def test_a_shadow_reads_beside_the_version_in_use_at_the_same_operating_points(models: Models, newer: Path) -> None:
    models.deploy({"tiny": Deployment(operating_points={"tumor": "rule_in"}, shadow=Shadow(1, newer))})

    shadow = models.shadow("tiny")
    assert shadow is not None
    assert shadow.reader.bundle.version == "1.2.3+site.1"
    assert shadow.reader.bundle.manifest.findings[0].operating_point == "rule_in"
    assert models.reader("tiny").bundle.version == "1.2.3"

    models.deploy({})
    assert models.shadow("tiny") is None
