"""The machine that figures belong to: processor, memory, disk, accelerator and versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

_PACKAGES = ("pynetdicom", "pydicom", "SQLAlchemy", "numpy", "torch", "monai", "onnxruntime", "openvino")


def describe(folder: Path | None = None) -> dict[str, str]:
    """What distinguishes this machine, by name; the disk is that of ``folder``, else of the temporary folder."""
    facts = {
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{_memory_bytes() / (1 << 30):.0f} GiB",
        "disk": _file_system(folder or Path(tempfile.gettempdir())),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "packages": ", ".join(f"{name} {version}" for name in _PACKAGES if (version := _package(name))),
    }
    accelerator = first_line(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"])
    return facts | ({"accelerator": accelerator} if accelerator else {})


def first_line(command: Sequence[str]) -> str:
    """The first line that a program prints, such as its version; empty where it is not installed or fails."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines and done.returncode == 0 else ""


def processor_seconds(pid: int) -> float:
    """Processor time, user and system, that a process group has taken, its ended members included (proc(5), stat).

    Children that nobody has waited for yet are not in their parent's account, but still have their own.
    """
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        if int(fields[2]) == pid:
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _file_system(folder: Path) -> str:
    mounts = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    holding = [mount for mount in mounts if folder.resolve().is_relative_to(mount[1])]
    device, _, kind, *_ = max(holding, key=lambda mount: len(mount[1]))
    return f"{kind} on {device}"


def _package(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
