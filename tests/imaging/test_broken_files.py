"""Files with bytes changed at random are read or refused, and never end the program in another way."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import FileDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from dicom_node.imaging.stacks import read_stacks
from dicom_node.manifest import ImageKind
from tests.imaging.datasets import ct_slice, enhanced_ct, radiograph, saved

RAMP = (np.mgrid[:16, :16].sum(axis=0) * 100).astype(np.uint16)


def plain() -> FileDataset:
    return radiograph(
        RAMP,
        bits_stored=12,
        WindowCenter="100",
        WindowWidth="200",
        RescaleSlope="1",
        RescaleIntercept="0",
        PixelSpacing=["0.1", "0.1"],
        PresentationLUTShape="IDENTITY",
        NumberOfFrames="1",
    )


def run_length_encoded() -> FileDataset:
    dataset = radiograph(RAMP, bits_stored=12)
    dataset.compress(RLELossless, generate_instance_uid=False)
    return dataset


def deflated() -> FileDataset:
    dataset = radiograph(RAMP, bits_stored=12)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return dataset


def enhanced() -> FileDataset:
    return enhanced_ct([ct_slice(0.0), ct_slice(3.0)])


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("make", [plain, run_length_encoded, deflated, enhanced])
def test_damaged_file_is_read_or_refused(tmp_path: Path, make: Callable[[], FileDataset]) -> None:
    (path,) = saved(tmp_path, make())
    whole = path.read_bytes()
    generator = random.Random(5)
    refused = 0

    for _ in range(100):
        damaged = bytearray(whole)
        for _ in range(generator.choice([1, 2, 4])):
            damaged[generator.randrange(132, len(damaged))] = generator.randrange(256)
        path.write_bytes(damaged[: generator.choice([len(damaged), generator.randrange(132, len(damaged))])])
        for kind in ImageKind:
            read = read_stacks(kind, [path])
            assert read.stacks or read.undecodable or read.not_applicable
            refused += not read.stacks

    assert refused
