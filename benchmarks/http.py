"""POST /api/predict under Locust with rising users, against a plain FastAPI service with eager PyTorch."""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from benchmarks.report import Figure, Report
from dicom_node.demo.archives import StorageArchive
from dicom_node.demo.node import Node
from dicom_node.demo.processes import Process, free_port, listens

PUBLISHED = 150.0
"""Requests a second with 95 % under 200 ms, published for a single instance of such a service."""

LIMIT_MS = 200.0
_LOCUSTFILE = Path(__file__).with_name("locustfile.py")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How many users, for how long, and which model."""
    parser.add_argument("--users", type=int, nargs="+", default=[1, 2, 4, 8, 16, 24], metavar="N")
    parser.add_argument("--seconds", type=int, default=10, metavar="N", help="for each number of users")
    parser.add_argument("--model", default="chest_xray")
    parser.add_argument("--models-folder", type=Path, default=Path("models"))


def run(arguments: argparse.Namespace) -> Report:
    """Both services run; each number of users is put to one and then to the other."""
    report = Report(f"POST of one 224 px PNG to {arguments.model}, {arguments.seconds} s for each number of users")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        image = folder / "image.png"
        Image.fromarray(np.random.default_rng(1).integers(0, 256, (224, 224), np.uint8)).save(image)
        archive = stack.enter_context(StorageArchive())
        models = arguments.models_folder.absolute()
        settings: dict[str, dict[str, Any]] = {"node": {"models_folder": str(models)}, "web": {"predict": True}}
        node = stack.enter_context(
            Node(folder / "node", (archive.ae_title, archive.dicom_port), quiet_seconds=600.0, settings=settings)
        )
        port = free_port()
        command = [sys.executable, "-m", "benchmarks.plain_service", str(port), str(models), arguments.model]
        plain = stack.enter_context(Process("plain service", command, folder / "plain.log"))
        plain.wait_until(lambda: listens(port), 60.0)
        services = {
            "dicom-node": (node.url, "/api/predict", node.headers["Authorization"].removeprefix("Bearer ")),
            "plain FastAPI, eager PyTorch": (f"http://127.0.0.1:{port}", "/predict", ""),
        }
        _agree(services, image, arguments.model, report)
        for users in arguments.users:
            for service, (url, path, key) in services.items():
                environment = {
                    "PREDICT_PATH": path,
                    "PREDICT_KEY": key,
                    "PREDICT_MODEL": arguments.model,
                    "PREDICT_IMAGE": str(image),
                }
                report.rows.append(
                    {"service": service, "users": users} | _load(url, users, arguments, environment, folder)
                )
    best = {service: _best(report.rows, service) for service in services}
    node_rate, plain_rate = best.values()
    ratio = f"{node_rate / plain_rate:.2f} times the plain service's" if plain_rate else "the plain service has none"
    report.notes += [
        f"Highest rate with 95 % under {LIMIT_MS:.0f} ms: dicom-node {node_rate:.0f}/s, plain service "
        f"{plain_rate:.0f}/s ({ratio}); published for a single instance of such a service: {PUBLISHED:.0f}/s.",
        "Locust runs on the same machine and takes its share of it.",
    ]
    return report


def _agree(services: dict[str, tuple[str, str, str]], image: Path, model: str, report: Report) -> None:
    """Ask both the same once: a fast answer must be the same answer."""
    answers = []
    for url, path, key in services.values():
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        files = {"image": ("image.png", image.read_bytes())}
        answer = httpx.post(url + path, files=files, data={"model": model}, headers=headers, timeout=60.0)
        content = answer.raise_for_status().json()
        answers.append(content.get("probabilities", content))
    difference = max(abs(answers[0][name] - answers[1][name]) for name in answers[1])
    report.notes.append(f"Probabilities of both services differ by {difference:.4f} at most.")
    if difference > 0.01:
        report.failures.append(f"The services disagree: {answers[0]} and {answers[1]}.")


def _load(
    url: str, users: int, arguments: argparse.Namespace, environment: dict[str, str], folder: Path
) -> dict[str, Figure]:
    prefix = folder / "locust"
    command = [sys.executable, "-m", "locust", "-f", str(_LOCUSTFILE), "--headless", "--only-summary", "--host", url]
    command += ["-u", str(users), "-r", str(users), "-t", f"{arguments.seconds}s", "--csv", str(prefix)]
    subprocess.run(command, env={**os.environ, **environment}, check=False, capture_output=True)
    with prefix.with_name("locust_stats.csv").open(encoding="utf-8") as file:
        total = next(row for row in csv.DictReader(file) if row["Name"] == "Aggregated")
    return {
        "requests/s": float(total["Requests/s"]),
        "median, ms": float(total["50%"]),
        "95 %, ms": float(total["95%"]),
        "refused": int(total["Failure Count"]),
    }


def _best(rows: list[dict[str, Figure]], service: str) -> float:
    return max(
        (
            float(row["requests/s"] or 0)
            for row in rows
            if row["service"] == service and float(row["95 %, ms"] or 0) < LIMIT_MS and not row["refused"]
        ),
        default=0.0,
    )
