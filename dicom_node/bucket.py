"""A bucket of an S3-compatible object store, through s3fs; whatever keeps it from working is an OSError in words."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from dicom_node.config import ConfigurationError, StoreSection

_PART_BYTES = 8 << 20
"""Larger files go in parts of this size, a few at a time, so that a slide of gigabytes is never in memory."""
_PARTS_AT_ONCE = 4
_CONNECTIONS = 32
_ATTEMPTS = 2
_CONNECT_SECONDS = 5.0
_UNKNOWN_BUCKET = "NoSuchBucket"


class CutShort(Exception):
    """The server sent less of an object than it had said."""


class StoredObject(NamedTuple):
    """An object of the bucket, by its key below the prefix."""

    key: str
    modified_at: datetime


class Bucket:
    """The objects under ``store.url``, by keys relative to it; safe for threads.

    Every method raises FileNotFoundError for an object that is not there, and another OSError (EIO, with a sentence as
    its ``strerror``) while the bucket cannot be used: it is away, full, gone, or does not let the node in.
    """

    def __init__(self, settings: StoreSection) -> None:
        try:
            import s3fs
        except ModuleNotFoundError:
            raise ConfigurationError("store.url needs s3fs: pip install 'dicom-node[s3]'") from None
        self._bucket, _, self._prefix = settings.url.removeprefix("s3://").strip("/").partition("/")
        secret = settings.secret_file
        self._files = s3fs.S3FileSystem(
            key=settings.key,
            secret=None if secret is None else secret.read_text(encoding="utf-8").strip(),
            endpoint_url=settings.endpoint_url,
            client_kwargs={
                "region_name": settings.region_name,
                "verify": None if settings.authorities is None else str(settings.authorities),
            },
            config_kwargs={
                "connect_timeout": _CONNECT_SECONDS,
                "read_timeout": settings.timeout_seconds,
                "retries": {"mode": "standard", "total_max_attempts": _ATTEMPTS},
                "max_pool_connections": _CONNECTIONS,
                # Checksums in trailers, which only AWS's own and the newest of others understand.
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
            },
            use_listings_cache=False,
            skip_instance_cache=True,
            max_concurrency=_PARTS_AT_ONCE,
            default_block_size=_PART_BYTES,
        )
        self._files.retries = 1  # botocore's are enough

    def put(self, file: Path, key: str) -> None:
        """Write a file's content as an object; it is there, whole and durable, on return, and not at all before."""
        with self._in_words(key):
            self._files.put_file(str(file), self._path(key), chunksize=_PART_BYTES)

    def get(self, key: str, file: Path) -> None:
        """Write an object's content into a file.

        Raises:
            CutShort: not all of it came.
        """
        from aiohttp import ClientPayloadError

        with self._in_words(key):
            try:
                self._files.get_file(self._path(key), str(file))
            except ClientPayloadError as error:
                raise CutShort(key) from error

    def holds(self, key: str) -> bool:
        """Whether there is such an object."""
        try:
            with self._in_words(key):
                self._files.call_s3("head_object", Bucket=self._bucket, Key=self._key(key))
        except FileNotFoundError:
            return False
        return True

    def remove(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        with self._in_words(key):
            self._files.call_s3("delete_object", Bucket=self._bucket, Key=self._key(key))

    def pages(self, folder: str) -> Iterator[list[StoredObject]]:
        """The objects whose keys begin with ``folder``, in pages of up to 1000."""
        start = self._key("")
        more: dict[str, str] = {}
        while True:
            with self._in_words(folder):
                page = self._files.call_s3(
                    "list_objects_v2", Bucket=self._bucket, Prefix=f"{self._key(folder)}/", **more
                )
            yield [
                StoredObject(found["Key"].removeprefix(start), found["LastModified"])
                for found in page.get("Contents", ())
            ]
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _key(self, key: str) -> str:
        return f"{self._prefix}/{key}" if self._prefix else key

    def _path(self, key: str) -> str:
        return f"{self._bucket}/{self._key(key)}"

    @contextmanager
    def _in_words(self, key: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if isinstance(error, CutShort) or (isinstance(error, OSError) and error.filename is not None):
                raise  # the latter is of the file here
            if isinstance(error, FileNotFoundError) and _code(error) != _UNKNOWN_BUCKET:
                raise FileNotFoundError(errno.ENOENT, "there is no such object in the bucket", key) from error
            raise OSError(errno.EIO, self._why(error)) from error

    def _why(self, error: Exception) -> str:
        if isinstance(error, FileNotFoundError):
            return f"there is no bucket {self._bucket}"
        if isinstance(error, PermissionError):
            return f"bucket {self._bucket} does not let the node in ({_code(error)})"
        if (code := _code(error)) is not None:
            return f"bucket {self._bucket} refused ({code})"
        return f"bucket {self._bucket} does not answer ({type(error).__name__})"


def _code(error: BaseException) -> str | None:
    """The error code of the server's answer."""
    response: Any = getattr(error.__cause__, "response", None) or {}
    code = response.get("Error", {}).get("Code")
    return None if code is None else str(code)
