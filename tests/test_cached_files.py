"""Files in a bucket, held to a server process: put, fetched, checked, cached, let go."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchmarks.s3_server import S3Server
from dicom_node import cached_files
from dicom_node.bucket import Bucket
from dicom_node.cached_files import InBucket, make_room
from dicom_node.config import Config
from dicom_node.passing import in_words, passes
from dicom_node.stored_files import NotStored


def host(server: S3Server, folder: Path, **store: object) -> tuple[Config, InBucket]:
    config = Config.model_validate(
        {
            "node": {"data_folder": folder},
            "receive": {"minimum_free_megabytes": 0, "maximum_disk_percent": 100},
            "store": server.settings | store,
        }
    )
    config.instances_folder.mkdir(parents=True)
    assert config.store is not None
    return config, InBucket(config, config.store)


def _add(
    config: Config, files: InBucket, content: bytes = b"an image", uid: str = "1.2.3.4", study: str = "1.2"
) -> Path:
    arrived = config.node.data_folder / "arrived.dcm"
    arrived.write_bytes(content)
    return files.add(arrived, config.instances_folder / study / "1.2.3" / f"{uid}.dcm")


def _elsewhere(path: Path, here: Config, there: Config) -> Path:
    return there.instances_folder / path.relative_to(here.instances_folder)


def _unused_for(folder: Path, hours: float) -> None:
    then = time.time() - hours * 3600
    os.utime(folder, (then, then))


def test_what_one_host_has_put_another_reads(s3_server: S3Server, tmp_path: Path) -> None:
    (a, files_a), (b, files_b) = host(s3_server, tmp_path / "a"), host(s3_server, tmp_path / "b")
    content = os.urandom(20 << 20)  # in parts

    paths = [_elsewhere(_add(a, files_a, content[: 1 << n], f"1.2.3.{n}"), a, b) for n in (4, 12, 25)]
    with files_b.at_hand(paths):
        read = [path.read_bytes() for path in paths]

    assert read == [content[: 1 << n] for n in (4, 12, 25)]
    assert files_b.held([*paths, paths[0].with_name("1.2.3.4.dcm")]) == set(paths)
    assert not list(tmp_path.rglob("*.part"))


def test_an_instance_that_comes_again_is_another_object(s3_server: S3Server, tmp_path: Path) -> None:
    config, files = host(s3_server, tmp_path / "a")

    first, second = _add(config, files, b"before"), _add(config, files, b"before")
    files.remove([first])

    assert files.held([first, second]) == {second}


@pytest.mark.parametrize("damage", ["cut short", "changed", "gone"])
def test_an_object_that_is_not_what_was_stored_is_not_handed_out(
    s3_server: S3Server, tmp_path: Path, damage: str
) -> None:
    (a, files_a), (b, files_b) = host(s3_server, tmp_path / "a"), host(s3_server, tmp_path / "b")
    stored = _add(a, files_a, b"an image", uid="1.2.99")
    there = next(path for path in s3_server.objects() if path.name == stored.name)
    if damage == "gone":
        there.unlink()
    else:
        there.write_bytes(b"an im" if damage == "cut short" else b"an omage")
    path = _elsewhere(stored, a, b)

    with pytest.raises(NotStored, match=r"1 of 1 files .* 1\.2\.99 is .*there"), files_b.at_hand([path]):
        pass

    assert not passes(NotStored())
    assert not path.exists()
    assert not list(tmp_path.rglob("*.part"))


def test_many_who_want_the_same_files_at_once_all_get_them(s3_server: S3Server, tmp_path: Path) -> None:
    (a, files_a), (b, files_b) = host(s3_server, tmp_path / "a"), host(s3_server, tmp_path / "b")
    content = os.urandom(1 << 19)
    paths = [_elsewhere(_add(a, files_a, content, f"1.2.3.{n}"), a, b) for n in range(8)]

    def read(_: int) -> bool:
        with files_b.at_hand(paths):
            return all(path.read_bytes() == content for path in paths)

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(read, range(12)))


def test_a_bucket_that_is_away_is_a_fault_that_passes(s3_server: S3Server, tmp_path: Path) -> None:
    (a, files_a), (b, files_b) = host(s3_server, tmp_path / "a"), host(s3_server, tmp_path / "b")
    path = _elsewhere(_add(a, files_a), a, b)
    s3_server.stop()

    with pytest.raises(OSError, match="bucket node does not answer") as refused:
        _add(a, files_a)
    with pytest.raises(OSError, match="bucket node does not answer") as away, files_b.at_hand([path]):
        pass
    with pytest.raises(OSError, match="bucket node does not answer"):
        files_b.held([path])
    with files_a.at_hand([_elsewhere(path, b, a)]):
        pass  # what lies here needs no bucket
    s3_server.start()
    with files_b.at_hand([path]):
        assert path.read_bytes() == b"an image"

    assert passes(away.value) and passes(refused.value)
    assert "bucket" in in_words(away.value)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"url": "s3://nobucket/x"}, "there is no bucket nobucket"), ({"key": "SOMEBODY"}, "does not let the node in")],
)
def test_wrong_settings_are_told_in_words_and_count_as_passing(
    s3_server: S3Server, tmp_path: Path, wrong: dict[str, object], words: str
) -> None:
    config, files = host(s3_server, tmp_path / "a", **wrong)

    with pytest.raises(OSError, match=words) as refused:
        _add(config, files)

    assert passes(refused.value), "somebody will mend it"


def test_the_cache_lets_go_of_what_was_not_used_for_long(s3_server: S3Server, tmp_path: Path) -> None:
    config, files = host(s3_server, tmp_path / "a", cache_hours=2)
    old, used, here_only = (
        _add(config, files, study="1.1"),
        _add(config, files, study="1.2"),
        tmp_path / "a/instances/1.3",
    )
    here_only.mkdir()
    (here_only / "1.3.1.dcm").write_bytes(b"stored before there was a bucket")
    for study, hours in {"1.1": 3, "1.2": 1, "1.3": 30}.items():
        _unused_for(config.instances_folder / study, hours)
    assert config.store is not None

    make_room(config, config.store)

    assert not old.parents[1].exists()
    assert used.exists()
    assert (here_only / "1.3.1.dcm").exists()
    with files.at_hand([old]):
        assert old.read_bytes() == b"an image"


def test_a_short_disk_takes_the_least_recently_used_but_nothing_in_use(
    s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, files = host(s3_server, tmp_path / "a")
    read, idle, fresh = (_add(config, files, study=study) for study in ("1.1", "1.2", "1.3"))
    monkeypatch.setattr(cached_files, "disk_space", lambda _: type("Disk", (), {"is_scarce": True}))
    assert config.store is not None
    reading, done = threading.Event(), threading.Event()

    def hold() -> None:
        with files.at_hand([read]):
            reading.set()
            done.wait(10)

    reader = threading.Thread(target=hold)
    reader.start()
    reading.wait(10)
    for study in ("1.1", "1.2"):
        _unused_for(config.instances_folder / study, 1)
    make_room(config, config.store)
    kept = read.exists(), idle.exists(), fresh.exists()
    done.set()
    reader.join()
    make_room(config, config.store)

    assert kept == (True, False, True)
    assert (read.exists(), fresh.exists()) == (False, True)


def test_what_is_listed_is_old_enough_and_the_nodes_own(s3_server: S3Server, tmp_path: Path) -> None:
    prefix = {"url": "s3://node/listed"}
    config, files = host(s3_server, tmp_path / "a", **prefix)
    _, stranger = host(s3_server, tmp_path / "b", **prefix)
    stored = _add(config, files)
    now = datetime.now(UTC)

    assert [path for page in files.stored_before(now + timedelta(hours=1)) for path in page] == [stored]
    assert list(files.stored_before(now - timedelta(hours=1))) == []
    assert list(stranger.stored_before(now + timedelta(hours=1))) == [], "another database knows nothing of these"
    assert "DICOMNODE" in (stranger.belongs_to_another() or "")


def test_listing_goes_on_beyond_a_page(s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, files = host(s3_server, tmp_path / "a", url="s3://node/paged")
    stored = {_add(config, files, uid=f"1.2.3.{n}") for n in range(5)}
    bucket: Bucket = files._bucket
    ask = bucket._files.call_s3
    monkeypatch.setattr(bucket._files, "call_s3", lambda method, **wanted: ask(method, MaxKeys=2, **wanted))

    pages = list(bucket.pages("instances"))

    assert len(pages) == 3
    assert {config.node.data_folder / found.key for page in pages for found in page} == stored
