from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

from dicom_node.imaging.plain_image import read_plain_image
from dicom_node.imaging.radiograph import read_radiograph
from training.ingest import IngestOptions, ingest
from training.labelled_images import DataError


def _write_radiograph(path: Path, patient: str, seed: int) -> Path:
    dataset = Dataset()
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[str(seed)])
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=["study", str(seed)])
    dataset.PatientID = patient
    dataset.Modality = "CR"
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.SamplesPerPixel, dataset.Rows, dataset.Columns = 1, 40, 30
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = np.random.default_rng(seed).integers(0, 4096, (40, 30), dtype=np.uint16).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.file_meta = Dataset()  # type: ignore[assignment]
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    return path


def _table(folder: Path, lines: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "labels.csv"
    table.write_text("\n".join(["path,class,split", *lines]) + "\n")
    return table


def test_images_are_extracted_as_the_node_reads_them(bundle: Path, tmp_path: Path) -> None:
    source = _write_radiograph(tmp_path / "dicom/a.dcm", "Doe^1", 1)
    _write_radiograph(tmp_path / "dicom/b.dcm", "Doe^2", 2)
    table = _table(tmp_path / "dicom", ["a.dcm,normal,train", "b.dcm,tumor,test"])

    images = ingest(bundle, table, tmp_path / "out", IngestOptions())

    assert [image.split for image in images] == ["train", "test"]
    extracted = read_plain_image(tmp_path / "out" / images[0].path).pixels
    np.testing.assert_allclose(extracted, read_radiograph(source).pixels, atol=1e-5)
    with Image.open(tmp_path / "out" / images[0].path) as image:
        assert image.mode == "I;16"


def test_patients_are_numbered_and_never_named(bundle: Path, tmp_path: Path) -> None:
    for index, patient in enumerate(["Doe^1", "Roe^2", "Doe^1"]):
        _write_radiograph(tmp_path / f"dicom/{index}.dcm", patient, index)
    table = _table(tmp_path / "dicom", ["0.dcm,normal,train", "1.dcm,tumor,test", "2.dcm,normal,train"])

    images = ingest(bundle, table, tmp_path / "out", IngestOptions())

    assert [image.group for image in images] == ["patient-00001", "patient-00002", "patient-00001"]
    assert "Doe" not in (tmp_path / "out/manifest.csv").read_text()


def test_a_folder_in_the_table_stands_for_all_its_images(bundle: Path, tmp_path: Path) -> None:
    for index in range(3):
        _write_radiograph(tmp_path / f"dicom/study/{index}.dcm", "P", index)
    _write_radiograph(tmp_path / "dicom/t.dcm", "Q", 9)
    table = _table(tmp_path / "dicom", ["study,normal,train", "t.dcm,tumor,test"])

    assert len(ingest(bundle, table, tmp_path / "out", IngestOptions())) == 4


def test_a_class_that_the_model_has_not_is_refused_with_its_line(bundle: Path, tmp_path: Path) -> None:
    table = _table(tmp_path / "dicom", ["a.dcm,cyst,train"])

    with pytest.raises(DataError, match="line 2: 'cyst'"):
        ingest(bundle, table, tmp_path / "out", IngestOptions())
