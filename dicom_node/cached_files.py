"""Files whose truth is a bucket: put there before they count, fetched from it before they are read, cached between.

A file's name holds a token of its own and the SHA-256 of its content: ``<UID>.<16 digits>.<64 digits>.dcm``. So what
lies under a name never changes, on any host; what comes from the bucket is held to what was put there; and an object
that is removed is never one that came again meanwhile. Files of other names were stored before there was a bucket, and
lie in the data folder only.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from dicom_node.bucket import Bucket, CutShort
from dicom_node.config import Config, StoreSection
from dicom_node.disk import disk_space
from dicom_node.stored_files import InFolder, NotStored, StoredFiles

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

_NAME = re.compile(r"(?P<uid>.+)\.[0-9a-f]{16}\.(?P<digest>[0-9a-f]{64})\.dcm")
_PART = ".part"
_AT_ONCE = 8
_TRANSFERS = 3
"""So often an object is fetched before it counts as damaged."""
_LEAST_IDLE_SECONDS = 600.0
"""For so long after its last use a file stays, whatever room there is: a browser may still be downloading it."""
_OWNER = "owner"


def open_files(config: Config) -> StoredFiles:
    """The files of instances and results, where the configuration has them."""
    return InFolder() if config.store is None else InBucket(config, config.store)


class InBucket:
    """The files of instances and results in a bucket, and those of them that lie in this host's data folder.

    What is in use is locked by its study's folder, for all processes of the host and no longer than they live.
    """

    def __init__(self, config: Config, settings: StoreSection) -> None:
        self._config = config
        self._bucket = Bucket(settings)
        self._data = config.node.data_folder.absolute()
        self._folders = (config.instances_folder, config.results_folder)

    def add(self, path: Path, place: Path) -> Path:
        """Put a finished file into the bucket and move it to ``place`` under a name of its own, which is returned.

        Raises:
            OSError: the bucket, or the data folder, cannot be written.
        """
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        target = place.with_name(f"{place.stem}.{secrets.token_hex(8)}.{digest}.dcm")
        self._bucket.put(path, self._key(target))
        with _in_use(self._study_folder(target)):
            target.parent.mkdir(exist_ok=True)
            path.replace(target)
        return target

    def share(self, path: Path) -> Path:
        """Put a result file into the bucket; returns under which path it lies now."""
        return self.add(path, path)

    @contextmanager
    def at_hand(self, paths: Iterable[Path]) -> Iterator[None]:
        """Fetch what is missing, and keep all of it from being removed to make room."""
        wanted = [path for path in paths if _NAME.fullmatch(path.name)]
        with ExitStack() as held:
            for folder in sorted({self._study_folder(path) for path in wanted}):
                held.enter_context(_in_use(folder))
            missing = [path for path in wanted if not path.exists()]
            problems = [problem for problem in _all(self._fetch, missing) if problem is not None]
            if problems:
                raise NotStored(
                    f"{len(problems)} of {len(wanted)} files cannot be had from the store. {problems[0]} "
                    "Send the study again."
                )
            yield

    def held(self, paths: Iterable[Path]) -> set[Path]:
        """Those of the files that the bucket holds."""
        paths = list(paths)
        return {path for path, there in zip(paths, _all(self._is_held, paths), strict=True) if there}

    def remove(self, paths: Iterable[Path]) -> None:
        """Remove files from the bucket; those of other hosts' caches go with their time.

        Raises:
            OSError: the bucket cannot be written; some may be left.
        """
        _all(self._bucket.remove, [self._key(path) for path in paths if _NAME.fullmatch(path.name)])

    def stored_before(self, at: datetime) -> Iterator[Sequence[Path]]:
        """What the bucket holds and was put there before ``at``, some at a time.

        Nothing where the prefix is another node's, whose rows are not here to ask.
        """
        if (owner := self._owner()) != self._identity():
            log.error("store.url is in use by another node (%s): give each node a prefix of its own", owner)
            return
        for folder in self._folders:
            for page in self._bucket.pages(folder.name):
                if paths := [self._data / found.key for found in page if found.modified_at < at]:
                    yield paths

    def belongs_to_another(self) -> str | None:
        """The node that uses the prefix, where it is not this one; the first to ask takes it."""
        owner = self._owner()
        return None if owner == self._identity() else owner

    def _fetch(self, path: Path) -> str | None:
        """Bring a file from the bucket; what is wrong with it, where it cannot be had for good."""
        named = _NAME.fullmatch(path.name)
        uid, digest = (named["uid"], named["digest"]) if named else (path.stem, "")
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_name(f".{uid}.{secrets.token_hex(8)}{_PART}")
        try:
            for _ in range(_TRANSFERS):
                if self._comes_whole(self._key(path), digest, temporary):
                    temporary.replace(path)
                    return None
        except FileNotFoundError:
            return f"{uid} is not there."
        finally:
            temporary.unlink(missing_ok=True)
        return f"{uid} is damaged there: it is cut short, or not what was stored."

    def _comes_whole(self, key: str, digest: str, file: Path) -> bool:
        try:
            self._bucket.get(key, file)
        except CutShort:
            return False
        with file.open("rb") as fetched:
            os.fsync(fetched.fileno())  # what lies here is trusted, also after a power cut
            return hashlib.file_digest(fetched, "sha256").hexdigest() == digest

    def _is_held(self, path: Path) -> bool:
        return self._bucket.holds(self._key(path)) if _NAME.fullmatch(path.name) else path.is_file()

    def _key(self, path: Path) -> str:
        return path.relative_to(self._data).as_posix()

    def _study_folder(self, path: Path) -> Path:
        kind, study = path.relative_to(self._data).parts[:2]
        return self._data / kind / study

    def _identity(self) -> str:
        database = re.sub(r"//[^/@]*@", "//", self._config.database_url)
        return f"{self._config.node.ae_title} {database}"

    def _owner(self) -> str:
        file = self._data / f".{_OWNER}.{secrets.token_hex(8)}"
        try:
            try:
                self._bucket.get(_OWNER, file)
            except FileNotFoundError:
                file.write_text(self._identity(), encoding="utf-8")
                self._bucket.put(file, _OWNER)
            return file.read_text(encoding="utf-8")
        finally:
            file.unlink(missing_ok=True)


def make_room(config: Config, settings: StoreSection) -> None:
    """Remove from the cache what was used longest ago: what is older than ``store.cache_hours``, or as the disk asks.

    What is in use stays, and so does all that the bucket does not hold.
    """
    at = time.time()
    studies = list[tuple[float, Path]]()
    for folder in (*config.instances_folder.glob("[!.]*"), *config.results_folder.glob("[!.]*")):
        with suppress(FileNotFoundError):  # another process of this host was faster
            studies.append((folder.stat().st_mtime, folder))
    for used_at, folder in sorted(studies):
        idle = at - used_at
        is_old = idle >= settings.cache_hours * 3600
        if idle < _LEAST_IDLE_SECONDS or not (is_old or disk_space(config).is_scarce):
            return
        _empty(folder)


def _all(do: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Do something with each, some at once; the first error ends it."""
    if len(items) < 2:
        return [do(item) for item in items]
    with ThreadPoolExecutor(min(_AT_ONCE, len(items))) as pool:
        try:
            return list(pool.map(do, items))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


@contextmanager
def _in_use(folder: Path) -> Iterator[None]:
    """Keep a study's folder, which is made where it is missing, from being emptied."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue  # removed in this moment
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        try:
            os.utime(folder)
            if os.path.samestat(os.fstat(descriptor), folder.stat()):
                break
        except FileNotFoundError:
            pass
        os.close(descriptor)
    try:
        yield
    finally:
        os.close(descriptor)


def _empty(folder: Path) -> None:
    """Remove what the bucket holds of a study from the cache, unless it is in use."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for path in sorted(folder.rglob("*"), reverse=True):
            if path.is_dir():
                _remove_empty(path)
            elif _NAME.fullmatch(path.name) or path.suffix == _PART:
                path.unlink(missing_ok=True)
        _remove_empty(folder)
    except BlockingIOError:
        log.debug("%s is in use", folder)
    finally:
        os.close(descriptor)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
