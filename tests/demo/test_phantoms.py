from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.demo import phantoms


def small_chest_ct(seed: int = 1) -> list[Dataset]:
    return phantoms.chest_ct(seed=seed, slices=12, size=96)


def small_abdomen_ct(seed: int = 1) -> list[Dataset]:
    return phantoms.abdomen_ct(seed=seed, slices=12, size=96)


def small_radiograph(seed: int = 1) -> list[Dataset]:
    return phantoms.chest_radiograph(seed=seed, size=128)


def hounsfield(images: list[Dataset]) -> npt.NDArray[np.float64]:
    """(S, H, W), head first."""
    return np.stack([pixels(image) * float(image.RescaleSlope) + float(image.RescaleIntercept) for image in images])


def pixels(image: Dataset) -> npt.NDArray[np.float64]:
    buffer = BytesIO()
    image.save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    return dcmread(buffer).pixel_array.astype(float)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
@pytest.mark.parametrize("make", [small_chest_ct, small_abdomen_ct, small_radiograph])
def test_every_kind_of_study_is_a_valid_object_of_its_class(make: Callable[[], list[Dataset]], tmp_path: Path) -> None:
    file = tmp_path / "image.dcm"
    make()[0].save_as(file, enforce_file_format=True)

    report = subprocess.run(["dciodvfy", str(file)], capture_output=True, text=True, check=False)

    said = (report.stdout + report.stderr).splitlines()
    assert [line for line in said if line.startswith(("Error", "Abort", "Warning"))] == []


@pytest.mark.parametrize("make", [small_chest_ct, small_abdomen_ct, small_radiograph])
def test_the_same_seed_makes_the_same_study_and_another_seed_another(make: Callable[[int], list[Dataset]]) -> None:
    first, again, other = make(3), make(3), make(4)

    assert first == again
    uids = {image.SOPInstanceUID for image in first} | {first[0].StudyInstanceUID, first[0].SeriesInstanceUID}
    assert uids.isdisjoint({image.SOPInstanceUID for image in other} | {other[0].StudyInstanceUID})
    assert first[0].PixelData != other[0].PixelData


def test_other_content_never_has_the_same_identity() -> None:
    with_nodule = phantoms.chest_ct(slices=4, size=64)
    without = phantoms.chest_ct(slices=4, size=64, nodule=False)
    of_another = phantoms.chest_ct(phantoms.Patient(identifier="PHANTOM-2"), slices=4, size=64)

    studies = {images[0].StudyInstanceUID for images in (with_nodule, without, of_another)}
    assert len(studies) == 3


def test_a_chest_ct_holds_the_densities_of_a_chest() -> None:
    volume = hounsfield(small_chest_ct())

    assert np.median(volume[:, :10]) == pytest.approx(-1000, abs=10)
    lung = np.mean((volume > -920) & (volume < -780))
    soft_tissue = np.mean((volume > -20) & (volume < 90))
    bone = np.mean(volume > 200)
    assert 0.08 < lung < 0.35
    assert 0.05 < soft_tissue < 0.35
    assert 0.005 < bone < 0.05


def test_a_chest_ct_has_its_liver_on_the_right_and_its_heart_on_the_left() -> None:
    volume = hounsfield(phantoms.chest_ct(slices=24, size=96))
    rows, middle = slice(35, 60), 48

    heart = volume[15, rows] > -50
    liver = volume[22, rows] > -50

    assert heart[:, middle + 12 :].sum() > heart[:, : middle - 12].sum()
    assert liver[:, : middle - 12].sum() > liver[:, middle + 12 :].sum()


def test_ct_slices_are_evenly_spaced_head_first_along_the_normal() -> None:
    images = small_chest_ct()

    heights = [float(image.ImagePositionPatient[2]) for image in images]

    assert np.diff(heights) == pytest.approx(-float(images[0].SliceThickness), abs=1e-3)


def test_a_radiograph_shows_dark_lungs_beside_a_bright_mediastinum_in_twelve_bits() -> None:
    image = pixels(small_radiograph()[0])

    assert image.max() <= 4095
    lungs = np.concatenate([image[40:75, 28:45].ravel(), image[40:60, 83:100].ravel()])
    mediastinum = image[40:75, 60:68]
    assert np.median(mediastinum) - np.median(lungs) > 1000


def test_a_kidney_mass_changes_only_the_left_flank() -> None:
    volume, without = (hounsfield(phantoms.abdomen_ct(slices=12, size=96, mass=mass)) for mass in (True, False))

    changed = np.argwhere(np.abs(volume - without) > 40)

    assert changed[:, 2].min() > 48
    assert changed[:, 1].min() > 40
