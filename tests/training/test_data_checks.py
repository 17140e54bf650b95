from dataclasses import replace

import pytest

from training.data_checks import Check, check_data
from training.data_manifest import ManifestImage

CLASSES = ("normal", "tumor")


def _images(splits: tuple[str, ...] = ("train", "test"), count: int = 12) -> list[ManifestImage]:
    """A sound data set: every image with its own digest, group and a fingerprint far from the others'."""
    images = []
    for number, (split, name, index) in enumerate((s, c, i) for s in splits for c in CLASSES for i in range(count)):
        key = f"{number:03d}"
        bits = f"{pow(3, 40 + number, 2**255):064x}"
        images.append(ManifestImage(f"{split}/{name}/{index}.png", name, split, f"p{key}", key, 9, 9, bits))
    return images


def _checks(images: list[ManifestImage]) -> dict[Check, bool]:
    return {objection.check: objection.refused for objection in check_data(images, CLASSES).objections}


def test_sound_data_are_accepted() -> None:
    report = check_data(_images(), CLASSES)

    assert report.objections == ()
    assert not report.refused
    assert report.images == {"test": {"normal": 12, "tumor": 12}, "train": {"normal": 12, "tumor": 12}}


def test_an_unreadable_image_is_refused() -> None:
    images = _images()
    images[0] = replace(images[0], problem="broken image file", fingerprint="")

    assert _checks(images) == {Check.UNREADABLE: True}


def test_one_file_in_two_splits_is_refused() -> None:
    images = _images()
    images[-1] = replace(images[-1], sha256=images[12].sha256)

    assert _checks(images) == {Check.DUPLICATE: True}


def test_one_file_twice_in_a_split_is_noted() -> None:
    images = _images()
    images[1] = replace(images[1], sha256=images[0].sha256)

    assert _checks(images) == {Check.DUPLICATE: False}


def test_one_file_under_two_labels_is_refused() -> None:
    images = _images()
    images[12] = replace(images[12], sha256=images[0].sha256)

    assert _checks(images)[Check.CONTRADICTION]


@pytest.mark.parametrize(("changed_bits", "refused"), [(0xFF, True), (0x1FF, False)])
def test_images_that_look_the_same_in_two_splits_are_refused(changed_bits: int, refused: bool) -> None:
    images = _images()
    near = int(images[0].fingerprint, 16) ^ changed_bits
    images[-1] = replace(images[-1], fingerprint=f"{near:064x}")

    assert check_data(images, CLASSES).refused is refused


def test_a_patient_in_two_splits_is_refused() -> None:
    images = _images()
    images[-1] = replace(images[-1], group=images[0].group)

    report = check_data(images, CLASSES)

    assert report.refused
    assert report.objections[0].images == ("p000: test, train",)


def test_images_without_a_known_group_share_none() -> None:
    assert check_data([replace(image, group="") for image in _images()], CLASSES).objections == ()


def test_a_class_without_images_is_refused() -> None:
    images = [image for image in _images() if image.path[:10] != "test/tumor"]

    assert _checks(images) == {Check.MISSING_CLASS: True}


def test_few_images_of_a_class_are_noted() -> None:
    assert _checks(_images(count=9)) == {Check.BALANCE: False}


def test_a_waived_objection_is_reported_but_not_refused() -> None:
    images = _images()
    images[-1] = replace(images[-1], group=images[0].group)

    report = check_data(images, CLASSES, frozenset({Check.SHARED_GROUP}))

    assert not report.refused
    assert "Waived" in report.text()
