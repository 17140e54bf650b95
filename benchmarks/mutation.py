"""Valid bytes made invalid: the mutations that find the most in parsers, drawn by a seed."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

_TELLING = (
    b"\x00",
    b"\xff",
    b"\x00\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\x00",
    b"\xfe\xff\x00\xe0",
)


def mutate(content: bytes, dice: random.Random) -> bytes:
    """``content`` after one to four mutations."""
    for _ in range(dice.randint(1, 4)):
        content = dice.choice(_MUTATIONS)(content, dice)
    return content


def _flip(content: bytes, dice: random.Random) -> bytes:
    if not content:
        return content
    at = dice.randrange(len(content))
    return content[:at] + bytes([content[at] ^ (1 << dice.randrange(8))]) + content[at + 1 :]


def _truncate(content: bytes, dice: random.Random) -> bytes:
    return content[: dice.randrange(len(content) + 1)]


def _remove(content: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(content) + 1)
    return content[:start] + content[start + dice.randint(1, 64) :]


def _insert(content: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(content) + 1)
    return content[:at] + dice.randbytes(dice.randint(1, 64)) + content[at:]


def _repeat(content: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(content) + 1)
    part = content[start : start + dice.randint(1, 512)]
    return content[:start] + part * dice.randint(2, 5) + content[start:]


def _overwrite(content: bytes, dice: random.Random) -> bytes:
    at, value = dice.randrange(len(content) + 1), dice.choice(_TELLING)
    return content[:at] + value + content[at + len(value) :]


def _wrong_length(content: bytes, dice: random.Random) -> bytes:
    """Another value where a length may stand: four bytes, of either order."""
    at = dice.randrange(len(content) + 1)
    value = dice.choice([0, 1, 5, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, dice.randrange(1 << 16)])
    return content[:at] + struct.pack(dice.choice("<>") + "L", value) + content[at + 4 :]


_MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flip,
    _truncate,
    _remove,
    _insert,
    _repeat,
    _overwrite,
    _wrong_length,
)
