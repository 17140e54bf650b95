"""Uploads of labelled images: what is taken apart, and what is refused before anything is written."""

from __future__ import annotations

import stat
import zipfile
from io import BytesIO

import pytest

from dicom_node.lifecycle import labelled
from dicom_node.lifecycle.labelled import NotTaken, unpacked

PNG = b"\x89PNG"


def _zip(*names: str, content: bytes = PNG, link: bool = False) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            member = zipfile.ZipInfo(name)
            member.external_attr = (stat.S_IFLNK | 0o777 if link else stat.S_IFREG | 0o644) << 16
            archive.writestr(member, content)
    return buffer.getvalue()


def test_an_archive_is_taken_apart_and_what_systems_add_is_passed_over() -> None:
    archive = _zip("set/normal/a.png", "set/index.csv", "__MACOSX/set/normal/._a.png", "set/.DS_Store")

    assert [name for name, _ in unpacked([("set.zip", archive)])] == ["set/normal/a.png", "set/index.csv"]


def test_files_keep_the_folders_that_name_their_class() -> None:
    assert list(unpacked([("set/tumour/b.jpeg", PNG)])) == [("set/tumour/b.jpeg", PNG)]


@pytest.mark.parametrize(
    "name", ["../normal/a.png", "/etc/normal/a.png", "normal/../../a.png", "C:\\normal\\a.png", "..\\a.png"]
)
def test_a_path_that_leads_out_is_refused(name: str) -> None:
    for files in ([("set.zip", _zip(name))], [(name, PNG)]):
        with pytest.raises(NotTaken, match="leads out"):
            list(unpacked(files))


def test_a_link_is_refused() -> None:
    with pytest.raises(NotTaken, match="a link"):
        list(unpacked([("set.zip", _zip("normal/a.png", content=b"/etc/passwd", link=True))]))


@pytest.mark.parametrize("name", ["normal/a.exe", "normal/a.dcm", "normal/deeper.zip.txt"])
def test_what_is_no_image_is_refused_by_name(name: str) -> None:
    with pytest.raises(NotTaken, match="neither PNG nor JPEG"):
        list(unpacked([("set.zip", _zip(name))]))


def test_an_archive_that_unpacks_to_too_much_is_refused_whatever_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelled, "MOST_MEGABYTES", 1)

    with pytest.raises(NotTaken, match="1 MB"):
        list(unpacked([("bomb.zip", _zip("normal/a.png", content=bytes(2 << 20)))]))


def test_too_many_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelled, "MOST_FILES", 2)

    with pytest.raises(NotTaken, match="2 files"):
        list(unpacked([(f"normal/{number}.png", PNG) for number in range(3)]))
