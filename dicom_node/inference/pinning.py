"""Bundles are trusted like code, for their configuration is code: each can be pinned by the digest of its files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from dicom_node.inference.definition import BundleError, sha256

_NOT_RUN = {"docs", "__pycache__"}


def bundle_digest(folder: Path) -> str:
    """The SHA-256 of every file of a bundle that is run or read: their paths and contents, in hexadecimal.

    Raises:
        BundleError: a file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for path in sorted(folder.rglob("*")):
            parts = path.relative_to(folder).parts
            if not path.is_file() or parts[0] in _NOT_RUN or any(part.startswith(".") for part in parts):
                continue
            digest.update(f"{'/'.join(parts)}\0{sha256(path)}\n".encode())
    except OSError as error:
        raise BundleError(f"{folder}: cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def check_pinned(folder: Path, pinned: Mapping[str, str]) -> None:
    """Refuse a bundle that is not the one pinned under its name; where nothing is pinned, every bundle is trusted.

    Raises:
        BundleError: it is another, or none of that name is pinned.
    """
    if not pinned:
        return
    if folder.name not in pinned:
        raise BundleError(f"{folder}: not among node.bundle_digests, so it is not trusted and not opened")
    if (found := bundle_digest(folder)) != pinned[folder.name]:
        raise BundleError(
            f"{folder}: its files are not those pinned in node.bundle_digests (found {found}): restore them, or pin "
            "this digest if you trust the change"
        )
