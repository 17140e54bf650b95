"""Is a data set whole: walks the element headers (PS3.5 7) by their lengths, without reading the values."""

from __future__ import annotations

import struct
from typing import BinaryIO

_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_UNDEFINED = 0xFFFFFFFF
_ITEM = (0xFFFE, 0xE000)
_ITEM_DELIMITER = (0xFFFE, 0xE00D)
_SEQUENCE_DELIMITER = (0xFFFE, 0xE0DD)
_DEEPEST = 64


class Truncated(Exception):
    """A data set ends before its elements do, or an element's length leads nowhere; the text says where."""


class DataSetWalker:
    """Walks the elements from the file's position to its end."""

    def __init__(self, file: BinaryIO, size: int, *, implicit: bool, little_endian: bool) -> None:
        self._file = file
        self._size = size
        self._implicit = implicit
        self._order = "<" if little_endian else ">"

    def walk(self) -> None:
        """Walk to the end of the file.

        Raises:
            Truncated: the file ends too early or cannot be followed.
        """
        while self._file.tell() < self._size:
            self._element(0)

    def _element(self, depth: int) -> tuple[int, int]:
        """Pass over one element; returns its tag."""
        tag, length, is_sequence = self._header()
        if length != _UNDEFINED:
            self._skip(length)
        elif tag in (_ITEM_DELIMITER, _SEQUENCE_DELIMITER):
            raise Truncated("a delimiter of undefined length")
        else:
            self._items(depth + 1, nested=is_sequence)
        return tag

    def _header(self) -> tuple[tuple[int, int], int, bool]:
        tag: tuple[int, int] = struct.unpack(self._order + "HH", self._read(4))
        if self._implicit or tag[0] == 0xFFFE:
            return tag, self._number("I"), tag != (0x7FE0, 0x0010)
        vr = self._read(2)
        if vr not in _LONG_VRS:
            return tag, self._number("H"), False
        self._read(2)
        return tag, self._number("I"), vr in (b"SQ", b"UN")

    def _items(self, depth: int, *, nested: bool) -> None:
        """Pass over items up to the sequence delimiter: of data sets where ``nested``, else of fragments (A.4)."""
        if depth > _DEEPEST:
            raise Truncated("sequences nested too deeply")
        while True:
            tag: tuple[int, int] = struct.unpack(self._order + "HH", self._read(4))
            length = self._number("I")
            if tag == _SEQUENCE_DELIMITER:
                return
            if tag != _ITEM or (length == _UNDEFINED and not nested):
                raise Truncated(f"an item was expected at byte {self._file.tell() - 8}")
            if length != _UNDEFINED:
                self._skip(length)
            else:
                while self._element(depth) != _ITEM_DELIMITER:
                    pass

    def _number(self, code: str) -> int:
        number: int = struct.unpack(self._order + code, self._read(struct.calcsize(code)))[0]
        return number

    def _read(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) < count:
            raise Truncated("the data set ends inside an element")
        return data

    def _skip(self, length: int) -> None:
        missing = self._file.tell() + length - self._size
        if missing > 0:
            raise Truncated(f"the data set is truncated, {missing} bytes are missing")
        self._file.seek(length, 1)
