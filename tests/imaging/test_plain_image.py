from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dicom_node.imaging.errors import UnreadableImage
from dicom_node.imaging.plain_image import read_plain_image

RAMP = np.linspace(0, 255, 6 * 8, dtype=np.uint8).reshape(6, 8)


def test_eight_bit_grey_is_scaled_by_255(tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    Image.fromarray(RAMP).save(path)

    stack = read_plain_image(path)

    assert stack.pixels.dtype == np.float32
    assert stack.pixels.shape == (1, 6, 8)
    np.testing.assert_array_equal(stack.pixels[0], RAMP.astype(np.float32) / np.float32(255))
    assert (stack.planes[0].rows, stack.planes[0].columns, stack.planes[0].sop_instance_uid) == (6, 8, "")
    assert not stack.hounsfield


def test_sixteen_bit_grey_keeps_its_precision(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    deep = np.array([[0, 1, 256], [32768, 65534, 65535]], dtype=np.uint16)
    Image.fromarray(deep).save(path)

    pixels = read_plain_image(path).pixels[0]

    np.testing.assert_allclose(pixels, deep / 65535, atol=1e-7)
    assert len(np.unique(pixels)) == 6


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "1"])
def test_other_modes_give_the_grey_that_pillow_gives(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "image.png"
    image = Image.fromarray(RAMP).convert(mode)
    image.save(path)

    pixels = read_plain_image(path).pixels[0]

    np.testing.assert_array_equal(pixels, np.asarray(image.convert("L"), dtype=np.float32) / np.float32(255))


def test_colour_jpeg_and_cmyk_jpeg_become_luma(tmp_path: Path) -> None:
    colour = Image.new("RGB", (16, 16), (200, 100, 50))
    colour.save(tmp_path / "rgb.jpg", quality=95)
    colour.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)

    for name in ("rgb.jpg", "cmyk.jpg"):
        pixels = read_plain_image(tmp_path / name).pixels
        np.testing.assert_allclose(pixels, (0.299 * 200 + 0.587 * 100 + 0.114 * 50) / 255, atol=0.02)


def test_transparent_pixels_lie_on_black(tmp_path: Path) -> None:
    path = tmp_path / "transparent.png"
    rgba = np.full((2, 2, 4), 255, dtype=np.uint8)
    rgba[0, 0, 3] = 0
    Image.fromarray(rgba).save(path)

    np.testing.assert_array_equal(read_plain_image(path).pixels[0], [[0, 1], [1, 1]])


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side: turn by 90 degrees clockwise to show
    Image.fromarray(RAMP).save(path, exif=exif)

    stack = read_plain_image(path)

    assert (stack.planes[0].rows, stack.planes[0].columns) == (8, 6)
    np.testing.assert_allclose(stack.pixels[0], np.rot90(RAMP, -1) / 255, atol=1e-7)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    for name in ("image.png", "image.jpg"):
        path = tmp_path / name
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

        with pytest.raises(UnreadableImage, match=name):
            read_plain_image(path)


@pytest.mark.parametrize(
    "content", [b"", b"a letter, not an image", b"\x89PNG\r\n\x1a\n" + b"\0" * 64, b"\xff\xd8\xff"]
)
def test_what_is_no_image_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.png"
    path.write_bytes(content)

    with pytest.raises(UnreadableImage, match=r"odd\.png") as refusal:
        read_plain_image(path)

    assert refusal.value.path == path
    assert refusal.value.reason


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(UnreadableImage):
            read_plain_image(path)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [11_000, 20_000])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.png"
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"")))

    with pytest.raises(UnreadableImage, match="more"):
        read_plain_image(path)


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
