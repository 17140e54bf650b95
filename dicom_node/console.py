"""What the commands share: where they print, how they read the configuration, and how they fail."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dicom_node.config import Config, ConfigurationError, load_config

console = Console()
errors = Console(stderr=True)

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", help="Configuration file; else $DICOM_NODE_CONFIG, else config/node.yaml.", dir_okay=False
    ),
]


def fail(message: str) -> typer.Exit:
    """Say what is wrong on standard error; raise what this returns."""
    errors.print(message, style="red", markup=False, highlight=False)
    return typer.Exit(1)


def read_config(path: Path | None) -> Config:
    """The configuration; a wrong one ends the command with its explanation."""
    try:
        return load_config(path)
    except ConfigurationError as error:
        raise fail(str(error)) from error
