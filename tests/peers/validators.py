"""Independent opinions on a DICOM object: dciodvfy, PixelMed's SR template validator, DCMTK's dsr2html."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from pydicom import dcmread

PIXELMED = Path("/usr/share/java/pixelmed.jar")
UNLIMITED_XPATH = [f"-Djdk.xml.{name}=0" for name in ("xpathExprOpLimit", "xpathTotalOpLimit", "xpathExprGrpLimit")]


def missing_validators() -> list[str]:
    """Which of the validators this machine lacks."""
    programs = [program for program in ("dciodvfy", "java", "dsr2html") if shutil.which(program) is None]
    return programs if PIXELMED.is_file() else [*programs, str(PIXELMED)]


def errors_in(file: Path) -> list[str]:
    """Every error that a validator has with the object in ``file``, prefixed with the validator's name."""
    errors = [f"dciodvfy: {line}" for line in _said(["dciodvfy", str(file)]) if line.startswith(("Error", "Abort"))]
    if dcmread(file, stop_before_pixels=True).Modality == "SR":
        errors += _pixelmed(file) + _dsr2html(file)
    return errors


def _pixelmed(file: Path) -> list[str]:
    classpath = f"{PIXELMED}:{PIXELMED.parent}/*"
    said = _said(["java", *UNLIMITED_XPATH, "-cp", classpath, "com.pixelmed.validate.DicomSRValidator", str(file)])
    errors = [f"PixelMed: {line}" for line in said if line.startswith("Error")]
    if not any("Root Template Validation Complete" in line for line in said):
        errors.append("PixelMed: no root template that it knows")
    return errors


def _dsr2html(file: Path) -> list[str]:
    rendered = subprocess.run(["dsr2html", str(file)], capture_output=True, text=True, check=False)
    return [] if rendered.returncode == 0 else [f"dsr2html: {rendered.stderr}"]


def _said(command: list[str]) -> list[str]:
    finished = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    return (finished.stdout + finished.stderr).splitlines()
