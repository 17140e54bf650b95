import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.core import TyperGroup
from typer.main import get_command

from training.__main__ import app

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pipeline() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    return content["stages"]


@pytest.fixture(scope="module")
def bundles() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    return content["bundles"]


def test_every_bundle_has_a_pipeline(bundles: dict[str, Any]) -> None:
    assert set(bundles) == {path.parents[1].name for path in (ROOT / "models").glob("*/configs/train.json")}


def test_the_stages_are_chained(pipeline: dict[str, Any]) -> None:
    made: set[str] = set()
    for name, stage in pipeline.items():
        wanted = set(stage["do"]["deps"])
        assert name == "ingest" or wanted & made, f"{name} does not follow from an earlier stage"
        for out in [*stage["do"].get("outs", ()), *stage["do"].get("metrics", ())]:
            made |= set(out)


def test_the_commands_and_their_options_exist(pipeline: dict[str, Any]) -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    for stage in pipeline.values():
        run = stage["do"]["cmd"]
        for line in run if isinstance(run, list) else [run]:
            (name,) = re.findall(r"^python -m training (\w+)", line)
            options = {option for parameter in group.commands[name].params for option in parameter.opts}
            assert set(re.findall(r"--[a-z-]+", line)) <= options


def test_the_code_that_stages_depend_on_exists(pipeline: dict[str, Any]) -> None:
    for stage in pipeline.values():
        for path in stage["do"]["deps"]:
            assert "$" in path or (ROOT / path).is_file()
