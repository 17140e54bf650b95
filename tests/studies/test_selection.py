from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    EncapsulatedPDFStorage,
    EnhancedCTImageStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
    ParametricMapStorage,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    generate_uid,
)

from dicom_node.domain import MANUFACTURER, Instance, Series, SeriesDecision
from dicom_node.manifest import BundleManifest
from dicom_node.studies.headers import SeriesHeaders, read_series_headers
from dicom_node.studies.selection import select_series

AXIAL = [1, 0, 0, 0, 1, 0]
CORONAL = [1, 0, 0, 0, 0, -1]


def manifest(**selection: Any) -> BundleManifest:
    return BundleManifest.model_validate(
        {
            "title": "Test",
            "kind": "radiograph",
            "selection": {"sop_classes": ["CTImageStorage"]} | selection,
            "classes": ["normal", "finding"],
            "findings": [
                {
                    "name": "finding",
                    "label": "Finding",
                    "classes": ["finding"],
                    "code": {"value": "1", "scheme": "99TEST", "meaning": "Finding"},
                    "site": {"value": "2", "scheme": "99TEST", "meaning": "Site"},
                    "operating_point": "balanced",
                    "operating_points": {"balanced": {"threshold": 0.5}},
                }
            ],
        }
    )


def header(**attributes: Any) -> Dataset:
    dataset = Dataset()
    defaults: dict[str, Any] = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": generate_uid(),
        "Modality": "CT",
        "BodyPartExamined": "ABDOMEN",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "ImageOrientationPatient": AXIAL,
    }
    for keyword, value in (defaults | attributes).items():
        setattr(dataset, keyword, value)
    return dataset


def series(uid: str, *datasets: Dataset) -> SeriesHeaders:
    return SeriesHeaders(uid, datasets)


def decide(*study: SeriesHeaders, **models: BundleManifest) -> tuple[SeriesDecision, ...]:
    return select_series(study, models)


def test_series_that_passes_is_read_with_its_instances() -> None:
    slices = [header() for _ in range(3)]

    (decision,) = decide(series("1.1", *slices), kidney_ct=manifest())

    assert (decision.series_instance_uid, decision.model) == ("1.1", "kidney_ct")
    assert decision.sop_instance_uids == tuple(one.SOPInstanceUID for one in slices)
    assert decision.reason == "Read by kidney_ct: 3 images."


def test_reason_names_the_attribute_its_value_and_what_is_needed() -> None:
    rules = manifest(conditions=[{"attribute": "BodyPartExamined", "matches": "(?i)abd|kidney"}])

    (decision,) = decide(series("1.1", header(BodyPartExamined="CHEST")), kidney_ct=rules)

    assert decision.model is None
    assert decision.sop_instance_uids == ()
    assert decision.reason == "Not read by kidney_ct: BodyPartExamined is CHEST, needs to match (?i)abd|kidney."


@pytest.mark.parametrize("sop_class", ["CTImageStorage", CTImageStorage])
def test_sop_classes_are_matched_by_keyword_and_uid(sop_class: str) -> None:
    rules = manifest(sop_classes=[sop_class])

    ct, cr = decide(
        series("1.1", header()), series("1.2", header(SOPClassUID=ComputedRadiographyImageStorage)), model=rules
    )

    assert ct.model == "model"
    assert cr.reason == (
        "Not read by model: SOPClassUID is Computed Radiography Image Storage, which the model does not read."
    )


def test_excluded_image_types_leave_out_single_images() -> None:
    slices = [header() for _ in range(3)]
    scout = header(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], ImageOrientationPatient=CORONAL)
    rules = manifest(excluded_image_types=["Localizer"], orientation="axial")

    (decision,) = decide(series("1.1", scout, *slices), model=rules)

    assert decision.model == "model"
    assert scout.SOPInstanceUID not in decision.sop_instance_uids
    assert decision.reason == (
        "Read by model: 3 images. 1 image left out: ImageType holds LOCALIZER, which is ruled out."
    )


def test_series_of_excluded_images_is_not_read() -> None:
    rules = manifest(excluded_image_types=["SECONDARY"])

    (decision,) = decide(series("1.1", header(ImageType=["DERIVED", "SECONDARY"])), model=rules)

    assert decision.reason == "Not read by model: ImageType holds SECONDARY, which is ruled out."


@pytest.mark.parametrize(
    ("orientations", "words"),
    [
        ([CORONAL, CORONAL], "its images are coronal, need to be axial"),
        ([AXIAL, AXIAL, CORONAL], "its images are axial and coronal, need to be axial"),
        ([None, None], "its images are of unknown orientation, need to be axial"),
        ([[1, 0, 0, 0, 0.7071, -0.7071]], "its images are oblique, need to be axial"),
    ],
)
def test_series_in_another_orientation_is_not_read(orientations: list[Any], words: str) -> None:
    slices = [header(ImageOrientationPatient=orientation) for orientation in orientations]

    (decision,) = decide(series("1.1", *slices), model=manifest(orientation="axial"))

    assert decision.reason == f"Not read by model: {words}."


def test_too_few_images_are_not_read() -> None:
    scout = header(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    rules = manifest(minimum_images=3, excluded_image_types=["LOCALIZER"])

    (decision,) = decide(series("1.1", header(), header(), scout), model=rules)

    assert decision.model is None
    assert "it has 2 images to read, needs at least 3" in decision.reason
    assert "LOCALIZER" in decision.reason


def test_frames_of_enhanced_objects_count_as_images() -> None:
    groups, plane = Dataset(), Dataset()
    plane.ImageOrientationPatient = AXIAL
    groups.PlaneOrientationSequence = [plane]
    enhanced = header(SOPClassUID=EnhancedCTImageStorage, NumberOfFrames=40, SharedFunctionalGroupsSequence=[groups])
    enhanced.PerFrameFunctionalGroupsSequence = [Dataset() for _ in range(40)]
    del enhanced.ImageOrientationPatient
    rules = manifest(sop_classes=["EnhancedCTImageStorage"], minimum_images=40, orientation="axial")

    (decision,) = decide(series("1.1", enhanced), model=rules)

    assert decision.reason == "Read by model: 40 images."


def test_best_series_by_the_stated_order_is_read() -> None:
    thick = series("1.1", *(header(SeriesNumber=2, SliceThickness="5") for _ in range(9)))
    thin = series("1.2", *(header(SeriesNumber=3, SliceThickness="1") for _ in range(4)))
    unknown = series("1.3", *(header(SeriesNumber=1) for _ in range(9)))

    by_thickness = decide(thick, thin, unknown, model=manifest(order=["SliceThickness"]))
    by_number = decide(thick, thin, unknown, model=manifest(order=["-number_of_images", "SliceThickness"]))

    assert [decision.model for decision in by_thickness] == [None, "model", None]
    assert by_thickness[0].reason == (
        "Not read by model: it passes, but series 3 comes first (SliceThickness 1 against 5)."
    )
    assert by_thickness[2].reason.endswith("(SliceThickness 1 against missing).")
    assert [decision.model for decision in by_number] == ["model", None, None]


def test_ties_go_to_the_lower_series_number_and_are_told() -> None:
    later, earlier = series("1.1", header(SeriesNumber=12)), series("1.2", header(SeriesNumber=3))

    first, second = decide(later, earlier, model=manifest())

    assert second.model == "model"
    assert first.reason == (
        "Not read by model: it passes, but series 3 is read, and the model reads 1 series of a study."
    )


def test_as_many_series_as_the_model_wants_are_read() -> None:
    study = [series(f"1.{number}", *[header()] * number) for number in (1, 2, 3)]

    decisions = decide(*study, model=manifest(series_per_study=2))

    assert [decision.model for decision in decisions] == [None, "model", "model"]


def test_one_series_is_read_by_several_models() -> None:
    decisions = decide(series("1.1", header()), first=manifest(), second=manifest(), third=manifest(minimum_images=2))

    assert [decision.model for decision in decisions] == ["first", "second"]


def test_reasons_of_all_models_are_joined() -> None:
    switched_off = manifest().model_copy(update={"enabled": False})

    (decision,) = decide(series("1.1", header()), first=manifest(minimum_images=2), second=switched_off)

    assert decision.reason == (
        "Not read by first: it has 1 image to read, needs at least 2. Not read by second: the model is switched off."
    )


def test_without_models_and_without_images_there_is_still_a_sentence() -> None:
    empty, broken, image = decide(series("1.1"), SeriesHeaders("1.2", (), ("9.9",)), series("1.3", header()))

    assert empty.reason == "It has no images."
    assert broken.reason == "None of its files can be read. 1 broken file: 9.9."
    assert image.reason == "No model is installed."


def test_broken_files_of_a_series_that_is_read_are_named() -> None:
    (decision,) = decide(SeriesHeaders("1.1", (header(),), ("9.8", "9.9")), model=manifest())

    assert decision.reason == "Read by model: 1 image. 2 broken files: 9.8, 9.9."


def test_only_the_views_that_pass_are_read_of_a_radiograph_series() -> None:
    cr = {"SOPClassUID": ComputedRadiographyImageStorage, "Modality": "CR"}
    frontal, lateral = header(**cr, ViewPosition="PA"), header(**cr, ViewPosition="LL")
    rules = manifest(
        sop_classes=["ComputedRadiographyImageStorage"],
        conditions=[{"attribute": "ViewPosition", "in": ["PA", "AP"]}],
    )

    (decision,) = decide(series("1.1", frontal, lateral), chest_xray=rules)

    assert decision.sop_instance_uids == (frontal.SOPInstanceUID,)
    assert decision.reason == (
        "Read by chest_xray: 1 image. 1 image left out: ViewPosition is LL, needs to be PA or AP."
    )


def test_differing_reasons_are_summed_up() -> None:
    rules = manifest(conditions=[{"attribute": "BodyPartExamined", "equals": "ABDOMEN"}])
    slices = [header(BodyPartExamined="CHEST"), header(BodyPartExamined="CHEST"), header(BodyPartExamined="HEAD")]

    (decision,) = decide(series("1.1", *slices), model=rules)

    assert decision.reason == (
        "Not read by model: BodyPartExamined is CHEST, needs to be ABDOMEN (other reasons for 1 of 3 images)."
    )


@pytest.mark.parametrize(
    ("sop_class", "words"),
    [
        (Comprehensive3DSRStorage, "structured reports"),
        (BasicTextSRStorage, "structured reports"),
        (SegmentationStorage, "segmentations"),
        (GrayscaleSoftcopyPresentationStateStorage, "presentation states"),
        (KeyObjectSelectionDocumentStorage, "key object selections"),
        (EncapsulatedPDFStorage, "encapsulated documents"),
        (RTStructureSetStorage, "radiotherapy objects"),
        (ParametricMapStorage, "parametric maps"),
    ],
)
def test_what_is_no_image_is_never_analysed_even_if_a_bundle_asks(sop_class: str, words: str) -> None:
    (decision,) = decide(series("1.1", header(SOPClassUID=sop_class)), model=manifest(sop_classes=[sop_class]))

    assert decision.model is None
    assert decision.reason == f"It holds {words}, which are never analysed."


@pytest.mark.parametrize(
    "sop_class",
    [
        CTImageStorage,
        EnhancedCTImageStorage,
        ComputedRadiographyImageStorage,
        DigitalXRayImageStorageForPresentation,
        SecondaryCaptureImageStorage,
        "1.2.840.10008.5.1.4.1.1.77.1.6",  # VL Whole Slide Microscopy
        "1.2.3.4.5",  # private
    ],
)
def test_images_of_every_other_class_are_left_to_the_rules(sop_class: str) -> None:
    (decision,) = decide(series("1.1", header(SOPClassUID=sop_class)), model=manifest(sop_classes=[sop_class]))

    assert decision.model == "model"


def test_own_results_are_never_analysed() -> None:
    own = header(SOPClassUID=SecondaryCaptureImageStorage, Manufacturer=MANUFACTURER)
    equipment = Dataset()
    equipment.Manufacturer = MANUFACTURER
    converted = header(SOPClassUID=SecondaryCaptureImageStorage, Manufacturer="PACS")
    converted.ContributingEquipmentSequence = [equipment]
    rules = manifest(sop_classes=["SecondaryCaptureImageStorage"])

    decisions = decide(series("1.1", own), series("1.2", converted), model=rules)

    assert {decision.reason for decision in decisions} == {
        "It was made by a node of this kind, which never analyses its own results."
    }


def read_from_disk(folder: Path) -> SeriesHeaders:
    instances = tuple(Instance("", folder.name, path.stem, "", "", "", path) for path in sorted(folder.iterdir()))
    return read_series_headers(Series(folder.name, "", instances))


def test_broken_files_are_named_when_headers_are_read(tmp_path: Path) -> None:
    (tmp_path / "9.9.dcm").write_bytes(b"not DICOM")

    headers = read_from_disk(tmp_path)

    assert (headers.datasets, headers.unreadable) == ((), ("9.9",))


def test_real_series_go_to_the_model_made_for_them(shared_dicom: Path) -> None:
    ct = {"excluded_image_types": ["LOCALIZER", "SECONDARY", "PERFUSION"], "orientation": "axial", "minimum_images": 3}
    models = {
        "kidney_ct": manifest(conditions=[{"attribute": "BodyPartExamined", "matches": "ABD|KIDNEY"}], **ct),
        "lung_ct": manifest(conditions=[{"attribute": "BodyPartExamined", "matches": "CHEST|LUNG|THORAX"}], **ct),
        "chest_xray": manifest(
            sop_classes=["DigitalXRayImageStorageForPresentation", "ComputedRadiographyImageStorage"],
            conditions=[{"attribute": "ViewPosition", "in": ["PA", "AP"]}],
        ),
    }
    study = [read_from_disk(shared_dicom / name) for name in ("ct_chest", "ct_kidney", "enhanced_ct", "cxr")]

    chest, kidney, enhanced, radiographs = select_series(study, models)

    assert (chest.model, len(chest.sop_instance_uids)) == ("lung_ct", 98)
    assert (kidney.model, len(kidney.sop_instance_uids)) == ("kidney_ct", 18)
    assert enhanced.model is None
    assert "Enhanced CT Image Storage" in enhanced.reason
    assert (radiographs.model, len(radiographs.sop_instance_uids)) == ("chest_xray", 2)  # the two others are captures
