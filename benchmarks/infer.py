"""How fast bundles run: the node's backend against eager PyTorch in single precision and ONNX Runtime, same weights."""

from __future__ import annotations

import argparse
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.equality import compare
from benchmarks.instances import write_ct_series
from benchmarks.report import Report
from benchmarks.rounds import interleaved, medians
from dicom_node.domain import FloatArray, ImageStack
from dicom_node.imaging.stacks import read_stacks
from dicom_node.inference.backends.choice import Backend
from dicom_node.inference.backends.network import Network
from dicom_node.inference.backends.torch_network import TorchNetwork, choose_device
from dicom_node.inference.bundle import Bundle
from dicom_node.inference.discovery import discover_bundles
from dicom_node.inference.reader import ModelReader
from dicom_node.inference.scoring import score_images
from dicom_node.manifest import ImageKind

EAGER, ONNX, NODE = "eager PyTorch", "ONNX Runtime", "dicom-node"
LARGEST_DIFFERENCE = 0.01

Competitors = Mapping[str, Callable[[], object]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which bundles, how often, and on what."""
    parser.add_argument("--models", type=Path, default=Path("models"), metavar="FOLDER", help="of bundles")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of the bundles, only these")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--slices", type=int, default=300, metavar="N", help="of the synthetic CT series")
    parser.add_argument("--series", type=Path, metavar="FOLDER", help="a CT series to read in place of the synthetic")
    parser.add_argument(
        "--test", nargs="+", default=[], metavar="NAME=FOLDER", help="folder per class on which predictions must agree"
    )


def run(arguments: argparse.Namespace) -> Report:
    """Time every bundle that is switched on, and compare what is said of the test images."""
    logging.getLogger("dicom_node").setLevel(logging.ERROR)
    report = Report("Milliseconds; ratio: eager PyTorch over dicom-node")
    bundles = [b for b in discover_bundles(arguments.models) if b.manifest.enabled]
    tests = dict(item.split("=", 1) for item in arguments.test)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = (
            sorted(arguments.series.iterdir()) if arguments.series else write_ct_series(folder / "ct", arguments.slices)
        )
        for found in bundles:
            if arguments.only and found.name not in arguments.only:
                continue
            node = Bundle.load(found.folder, Backend())
            networks = {EAGER: _eager(node), NODE: node.network, **_onnx_runtime(found.folder, folder, report)}
            report.notes.append(f"{found.name}: dicom-node runs it in {node.network.place}.")
            _time(report, node, networks, paths, arguments.rounds)
            if found.name in tests:
                _agree(report, node, networks, Path(tests[found.name]))
            else:
                report.notes.append(f"{found.name}: no --test images, so predictions were not compared on any.")
    return report


def _eager(bundle: Bundle) -> Network:
    return TorchNetwork(bundle.definition, choose_device())


def _onnx_runtime(bundle: Path, folder: Path, report: Report) -> dict[str, Network]:
    """The bundle exported anew, so that nothing in the repository is touched."""
    try:
        from training.onnx_export import export_onnx
    except ModuleNotFoundError as error:
        report.notes.append(f"{ONNX} is missing on this machine ({error.name}): pip install '.[training]'")
        return {}
    copy = folder / bundle.name
    shutil.copytree(bundle, copy)
    logging.disable(logging.WARNING)
    export_onnx(copy)
    logging.disable(logging.NOTSET)
    return {ONNX: Bundle.load(copy, Backend("onnxruntime")).network}


def _time(report: Report, bundle: Bundle, networks: Mapping[str, Network], paths: Sequence[Path], rounds: int) -> None:
    batch = _random_images(bundle, 16)
    for count in (1, 16):
        works = {name: _forward(network, batch[:count]) for name, network in networks.items()}
        _row(report, bundle, f"batch {count}", works, rounds * (5 if count == 1 else 1))
    if bundle.manifest.kind is not ImageKind.CT:
        return
    stack = read_stacks(bundle.manifest.kind, paths).stacks[0]
    count = len(stack.planes)
    prepared = _prepared(bundle, stack)
    readers = {name: replace(bundle, network=network) for name, network in networks.items()}
    _row(report, bundle, f"{count} slices: decoding", {NODE: lambda: read_stacks(bundle.manifest.kind, paths)}, rounds)
    _row(report, bundle, f"{count} slices: preprocessing", {NODE: lambda: _prepared(bundle, stack)}, rounds)
    works = {name: _in_batches(network, prepared) for name, network in networks.items()}
    _row(report, bundle, f"{count} slices: network", works, rounds)
    works = {name: _scoring(reader, stack) for name, reader in readers.items()}
    _row(report, bundle, f"{count} slices: preprocessing and network", works, rounds)
    works = {name: _reading(reader, paths) for name, reader in readers.items()}
    _row(report, bundle, f"{count} slices: files to findings and heat maps", works, rounds)


def _row(report: Report, bundle: Bundle, work: str, competitors: Competitors, rounds: int) -> None:
    for warm in competitors.values():
        warm()
    figures = medians(interleaved({name: _timed(work) for name, work in competitors.items()}, rounds))
    ratio = figures[EAGER] / figures[NODE] if EAGER in figures else None
    report.rows.append(
        {
            "bundle": bundle.name,
            "work": work,
            **{name: figures.get(name) for name in (EAGER, ONNX, NODE)},
            "ratio": ratio,
        }
    )


def _timed(work: Callable[[], object]) -> Callable[[], float]:
    def milliseconds() -> float:
        started = time.perf_counter()
        work()
        return (time.perf_counter() - started) * 1000

    return milliseconds


def _forward(network: Network, batch: FloatArray) -> Callable[[], object]:
    return lambda: network.logits(batch)


def _in_batches(network: Network, images: FloatArray) -> Callable[[], object]:
    return lambda: [network.logits(images[start : start + 32]) for start in range(0, len(images), 32)]


def _scoring(bundle: Bundle, stack: ImageStack) -> Callable[[], object]:
    return lambda: score_images(bundle, stack)


def _reading(bundle: Bundle, paths: Sequence[Path]) -> Callable[[], object]:
    reader = ModelReader(bundle)
    return lambda: reader.read(read_stacks(bundle.manifest.kind, paths).stacks[0], "1.2.3")


def _prepared(bundle: Bundle, stack: ImageStack) -> FloatArray:
    prepare = bundle.preprocessing
    return np.stack([prepare(prepare.display_image(stack, index)).pixels for index in range(len(stack.planes))])


def _random_images(bundle: Bundle, count: int) -> FloatArray:
    random = np.random.default_rng(0)
    pictures = random.random((count, 256, 256), dtype=np.float32)
    return np.stack([bundle.preprocessing(picture).pixels for picture in pictures])


def _agree(report: Report, bundle: Bundle, networks: Mapping[str, Network], data: Path) -> None:
    """The node against eager PyTorch, both through the same preprocessing."""
    compared = compare(replace(bundle, network=networks[EAGER]), bundle, data)
    said = (
        f"{bundle.name}: on {compared.images} test images the greatest difference of a probability is "
        f"{compared.greatest_difference:.1e}, and {compared.decisions_changed} of {compared.decisions} decisions change"
    )
    report.notes.append(f"{said}.")
    if compared.greatest_difference > LARGEST_DIFFERENCE or compared.decisions_changed:
        report.failures.append(said)
