import numpy as np
from PIL import Image

from dicom_node.domain import FloatArray
from training.fingerprint import NEAR, fingerprint, near_pairs


def _image(seed: int) -> FloatArray:
    coarse = Image.fromarray(np.random.default_rng(seed).random((12, 12), dtype=np.float32))
    return np.asarray(coarse.resize((224, 224), Image.Resampling.BILINEAR), dtype=np.float32)


def _distance(a: FloatArray, b: FloatArray) -> int:
    return (int(fingerprint(a), 16) ^ int(fingerprint(b), 16)).bit_count()


def test_resizing_and_brightness_leave_the_fingerprint() -> None:
    image = _image(1)
    smaller = np.asarray(Image.fromarray(image).resize((150, 150), Image.Resampling.BILINEAR))

    assert _distance(image, smaller * np.float32(0.8)) <= NEAR


def test_different_images_are_far_apart() -> None:
    assert min(_distance(_image(0), _image(seed)) for seed in range(1, 20)) > 4 * NEAR


def test_pairs_are_found_on_either_side() -> None:
    left = [fingerprint(_image(seed)) for seed in (1, 2, 3)]
    right = [fingerprint(_image(seed)) for seed in (9, 3)]

    assert near_pairs(left, right) == [(2, 1)]
    assert near_pairs([], right) == []
