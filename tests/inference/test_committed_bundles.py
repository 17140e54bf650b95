"""Every bundle of the repository loads, says what it is, and reads an image."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicom_node.domain import ImagePlane, ImageStack, NotApplicable
from dicom_node.imaging.ct_series import read_ct_series
from dicom_node.imaging.radiograph import read_radiograph
from dicom_node.inference.backends.choice import Backend
from dicom_node.inference.bundle import Bundle
from dicom_node.inference.discovery import bundle_folders, check_bundle
from dicom_node.inference.reader import ModelReader
from dicom_node.manifest import ImageKind
from tests.inference.bundles import TORCH
from training.configuration import load_training_configuration

MODELS = Path(__file__).resolve().parents[2] / "models"
GREY = [
    folder
    for folder in bundle_folders(MODELS)
    if folder.name in ("chest_xray", "kidney_ct", "lung_ct") and (folder / "models/model.pt").is_file()
]

TILED = [folder for folder in (MODELS / "lymph_node_histology",) if (folder / "models/model.pt").is_file()]


@pytest.fixture(params=GREY, ids=lambda folder: folder.name)
def folder(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def _stack(bundle: Bundle, count: int) -> ImageStack:
    random = np.random.default_rng(0)
    hounsfield = bundle.manifest.kind is ImageKind.CT
    pixels = random.random((count, 90, 70), dtype=np.float32)
    planes = tuple(
        ImagePlane("1.2", "1.2", 90, 70, None, (0.0, 0.0, 4.0 * z), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (1.0, 1.0))
        for z in range(count)
    )
    return ImageStack(pixels * 800 - 400 if hounsfield else pixels, planes, hounsfield=hounsfield)


def test_nothing_is_wrong_with_it(folder: Path) -> None:
    assert check_bundle(folder) == ()
    load_training_configuration(folder)


def test_weights_are_small_enough_to_be_kept_in_the_repository(folder: Path) -> None:
    assert (folder / "models/model.pt").stat().st_size < 50_000_000


def test_it_reads_a_series_with_calibrated_probabilities(folder: Path) -> None:
    bundle = Bundle.load(folder, TORCH)
    assert bundle.manifest.calibration.temperature != 1.0
    reading = ModelReader(replace(bundle, gate=None)).read(_stack(bundle, 5), "1.2.3")
    assert list(reading.class_probabilities) == list(bundle.manifest.classes)
    assert sum(reading.class_probabilities.values()) == pytest.approx(1)
    assert all(0 <= finding.probability <= 1 for finding in reading.findings)


def test_a_blank_image_is_read_without_error(folder: Path) -> None:
    bundle = Bundle.load(folder, TORCH)
    reader = ModelReader(bundle)
    reader.warm_up()
    stack = ImageStack(np.full((1, 64, 64), -1000, dtype=np.float32), (ImagePlane("", "", 64, 64),), hounsfield=True)
    assert sum(reader.class_probabilities(stack, of_any_kind=True).values()) == pytest.approx(1)


def test_a_series_of_noise_is_refused(folder: Path) -> None:
    bundle = Bundle.load(folder, TORCH)
    if bundle.gate is None:
        pytest.skip("its input gate has not been fitted")
    with pytest.raises(NotApplicable, match="do not look like those the model was made for"):
        ModelReader(bundle).read(_stack(bundle, 5), "1.2.3")


def test_radiographs_of_adults_are_let_by_and_a_negative_is_not(shared_dicom: Path) -> None:
    reader = ModelReader(Bundle.load(MODELS / "chest_xray", TORCH))

    for name in ("dx_pa_mono1_j2k_2128x2000.dcm", "gdcm-CR-MONO1-10-chest.dcm", "siim_pa_jpeg_1024.dcm"):
        probabilities = reader.class_probabilities(read_radiograph(shared_dicom / "cxr" / name))
        assert sum(probabilities.values()) == pytest.approx(1)
    negative = read_radiograph(shared_dicom / "cxr" / "siim_pa_jpeg_mono1_1024.dcm")
    with pytest.raises(NotApplicable, match=r"does not look like those .* \(Pneumonia on chest radiographs\)"):
        reader.class_probabilities(negative)


def test_a_chest_ct_of_another_hospital_is_let_by(shared_dicom: Path) -> None:
    stack = read_ct_series(sorted((shared_dicom / "ct_chest").glob("*.dcm"))[::4])

    assert sum(ModelReader(Bundle.load(MODELS / "lung_ct", TORCH)).class_probabilities(stack).values()) > 0.99


def test_operating_points_are_in_order(folder: Path) -> None:
    for finding in Bundle.load(folder, TORCH).manifest.findings:
        points = finding.operating_points
        assert points["screening"].threshold <= points["balanced"].threshold <= points["rule_in"].threshold


@pytest.mark.parametrize("folder", [*GREY, *TILED], ids=lambda folder: folder.name)
def test_openvino_runs_it_to_the_same_result(folder: Path) -> None:
    """Conversion itself holds probabilities and heat maps to PyTorch's."""
    assert Bundle.load(folder, Backend("openvino")).network.place == "OpenVINO on the CPU"
