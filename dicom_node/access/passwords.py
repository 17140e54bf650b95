"""Passwords: made at random or chosen, kept as Argon2id hashes (RFC 9106) only."""

from __future__ import annotations

import secrets
import string
import threading
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MINIMUM_LENGTH = 12
MAXIMUM_LENGTH = 256

_ALPHABET = "".join(sorted(set(string.ascii_letters + string.digits) - set("0O1lI")))
_GROUPS, _GROUP_LENGTH = 4, 5
_hasher = PasswordHasher()
# A hash takes 64 MiB and all of a core: a flood of logins must not take the memory of the node.
_hashing = threading.BoundedSemaphore(2)


class WeakPassword(ValueError):
    """A chosen password is not taken; the text says what is asked of it."""


def random_password() -> str:
    """A password of 115 random bits that can be typed from a screen."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP_LENGTH)) for _ in range(_GROUPS))


def hash_password(password: str, user_name: str) -> str:
    """The Argon2id hash of a password, with its salt and parameters.

    Raises:
        WeakPassword: it is too short, too long, or the user's own name.
    """
    if not MINIMUM_LENGTH <= len(password) <= MAXIMUM_LENGTH:
        raise WeakPassword(f"a password has {MINIMUM_LENGTH} to {MAXIMUM_LENGTH} characters")
    if len(set(password)) < 4 or password.casefold().strip() == user_name.casefold():
        raise WeakPassword("a password is neither the user's name nor a few characters over and over")
    with _hashing:
        return _hasher.hash(password)


def is_password(password: str, password_hash: str | None) -> bool:
    """Whether ``password`` is the one hashed. Takes as long where there is no hash, so that time tells no names."""
    try:
        with _hashing:
            return _hasher.verify(password_hash or _nobodys_hash(), password) and password_hash is not None
    except (VerificationError, InvalidHashError):
        return False


@cache
def _nobodys_hash() -> str:
    return _hasher.hash(secrets.token_urlsafe())
