"""The node's own secret, from which the secrets of signing keys are derived: a file that only the node can read."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

_LENGTH = 32


class SecretError(OSError):
    """The secret's file is unusable; the text says what to do."""


def node_secret(path: Path) -> bytes:
    """The secret at ``path``, made at its first use; readable by the node's own user only.

    Raises:
        SecretError: the file is not what the node wrote.
        OSError: it cannot be read or written.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_LENGTH))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process of the node was first: its secret counts
            os.link(fresh, path)
        fresh.unlink()
    secret = path.read_bytes()
    if len(secret) != _LENGTH:
        raise SecretError(f"{path} is not a secret of this node: restore it from the backup, or remove it")
    return secret


def derived_secret(secret: bytes, purpose: str, name: str) -> bytes:
    """A secret for one purpose and name; it tells nothing of the node's secret or of other derived ones."""
    return hmac.new(secret, f"{purpose}\0{name}".encode(), hashlib.sha256).digest()
