"""Is a data set whole: walks the element headers (PS3.5 7) by their lengths, and keeps the few values asked for."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Collection
from typing import Protocol

_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_UNDEFINED = 0xFFFFFFFF
_PIXEL_DATA = 0x7FE00010
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, _PIXEL_DATA})
_NOT_IN_A_DATA_SET = frozenset({0x0000, 0x0002, 0xFFFE})
"""Groups of commands, of file meta information and of delimiters: where one follows, readers take different ways."""
_ITEM = 0xFFFEE000
_ITEM_DELIMITER = 0xFFFEE00D
_SEQUENCE_DELIMITER = 0xFFFEE0DD
_DEEPEST = 64
_WINDOW = 1 << 13
_INFLATED_PIECE = 1 << 20
_LARGEST_VALUE = 1 << 16


class Truncated(Exception):
    """A data set ends before its elements do, or an element's length leads nowhere; the text says where."""


class Bytes(Protocol):
    """The encoded data set, read from front to back."""

    def read(self, position: int, count: int) -> bytes:
        """``count`` bytes from ``position``, fewer where the data set ends before."""

    def missing(self, position: int) -> int:
        """How many bytes the data set lacks up to ``position``; 0 or less where it reaches that far."""


class FileBytes:
    """The bytes of an open file from ``start``, read through a small window."""

    def __init__(self, descriptor: int, start: int) -> None:
        self._descriptor = descriptor
        self._start = start
        self._size = os.fstat(descriptor).st_size - start
        self._window = b""
        self._window_at = 0

    def read(self, position: int, count: int) -> bytes:
        """See ``Bytes``."""
        offset = position - self._window_at
        if offset < 0 or offset + count > len(self._window):
            self._window = os.pread(self._descriptor, max(count, _WINDOW), self._start + position)
            self._window_at, offset = position, 0
        return self._window[offset : offset + count]

    def missing(self, position: int) -> int:
        """See ``Bytes``."""
        return position - self._size


class InflatedBytes:
    """The inflated bytes of a deflated data set (PS3.5 A.5), a piece at a time: memory stays flat at any size.

    Raises:
        Truncated: from any method: the deflated stream breaks off, or inflates to more than ``largest`` bytes.
        zlib.error: from any method: it is no deflated stream.
    """

    def __init__(self, descriptor: int, start: int, largest: int) -> None:
        self._deflated = FileBytes(descriptor, start)
        self._taken = 0
        self._largest = largest
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._piece = b""
        self._piece_at = 0

    def read(self, position: int, count: int) -> bytes:
        """See ``Bytes``; what lies before ``position`` is given up."""
        while self._end < position + count and self._advance(position):
            pass
        offset = position - self._piece_at
        return self._piece[offset : offset + count]

    def missing(self, position: int) -> int:
        """See ``Bytes``."""
        while self._end < position and self._advance(self._end):
            pass
        return position - self._end

    @property
    def _end(self) -> int:
        return self._piece_at + len(self._piece)

    def _advance(self, keep_from: int) -> bool:
        """Inflate the next piece, keeping what was inflated from ``keep_from`` on; false at the end."""
        if self._inflate.eof:
            return False
        deflated = self._inflate.unconsumed_tail
        if not deflated:
            deflated = self._deflated.read(self._taken, _WINDOW)
            self._taken += len(deflated)
            if not deflated:
                raise Truncated("the deflated data set breaks off")
        piece = self._inflate.decompress(deflated, _INFLATED_PIECE)
        kept = self._piece[max(0, keep_from - self._piece_at) :]
        self._piece_at = self._end - len(kept)
        self._piece = kept + piece
        if self._end > self._largest:
            raise Truncated(f"the deflated data set inflates to more than {self._largest >> 20} MB")
        return True


class DataSetWalker:
    """Walks a data set's elements and keeps, as encoded, the top-level values of the ``wanted`` tags in ``values``.

    Values above 64 KiB are kept cut off; a wanted sequence of undefined length is kept as None. ``vrs`` holds their
    Value Representations, empty where the element has none. It goes the way that pydicom goes, which reads the file
    later: else another object could be acknowledged than is read.
    """

    def __init__(self, data: Bytes, *, implicit: bool, little_endian: bool, wanted: Collection[int] = ()) -> None:
        self.values: dict[int, bytes | None] = {}
        self.vrs: dict[int, bytes] = {}
        self.has_pixel_data = False
        self._data = data
        self._wanted = wanted
        self._position = 0
        self._order = "<" if little_endian else ">"
        self._set_encoding(implicit=implicit, order=self._order)

    def walk(self, end: int | None = None) -> None:
        """Walk to ``end``, else to the end of the data.

        Raises:
            Truncated: the data set ends too early or cannot be followed.
        """
        while self._position < end if end is not None else self._data.missing(self._position + 1) <= 0:
            tag, length, vr = self._header()
            if end is None and tag >> 16 in _NOT_IN_A_DATA_SET:
                raise Truncated(f"group {tag >> 16:04X} in the middle of the data set")
            if tag in self._wanted:
                kept = None if length == _UNDEFINED else self._data.read(self._position, min(length, _LARGEST_VALUE))
                self.values[tag], self.vrs[tag] = kept, vr
            elif tag in _PIXELS:
                self.has_pixel_data = True
            self._pass_over(tag, length, vr, 0)

    def _set_encoding(self, *, implicit: bool, order: str) -> None:
        self._implicit = implicit
        self._explicit_header = struct.Struct(order + "HH2sH")
        self._implicit_header = struct.Struct(order + "HHL")
        self._long = struct.Struct(order + "L")

    def _header(self) -> tuple[int, int, bytes]:
        """Tag, length and VR (empty where implicit) of the element at the position, which moves to its value."""
        header = self._data.read(self._position, 12)
        if len(header) < 8:
            raise Truncated("the data set ends inside an element")
        group, element, vr, length = self._explicit_header.unpack_from(header)
        # Some writers fall back into Implicit VR; what cannot be a VR (PS3.5 6.2) is then part of the length.
        if self._implicit or group == 0xFFFE or not b"AA" <= vr <= b"ZZ":
            group, element, length = self._implicit_header.unpack_from(header)
            vr = b""
        elif vr in _LONG_VRS:
            if len(header) < 12:
                raise Truncated("the data set ends inside an element")
            (length,) = self._long.unpack_from(header, 8)
            self._position += 4
        self._position += 8
        return group << 16 | element, length, vr

    def _pass_over(self, tag: int, length: int, vr: bytes, depth: int) -> None:
        if length != _UNDEFINED:
            self._skip(length)
        elif tag in (_ITEM_DELIMITER, _SEQUENCE_DELIMITER):
            raise Truncated("a delimiter of undefined length")
        elif vr == b"UN":
            # PS3.5 6.2.2: the items of unknown elements of undefined length are in Implicit VR Little Endian.
            self._set_encoding(implicit=True, order="<")
            self._items(depth + 1, nested=True)
            self._set_encoding(implicit=False, order=self._order)
        else:
            self._items(depth + 1, nested=vr == b"SQ" or (self._implicit and tag != _PIXEL_DATA))

    def _items(self, depth: int, *, nested: bool) -> None:
        """Pass over items up to the sequence delimiter: of data sets where ``nested``, else of fragments (A.4)."""
        if depth > _DEEPEST:
            raise Truncated("sequences nested too deeply")
        while True:
            at = self._position
            tag, length, _ = self._header()
            if tag == _SEQUENCE_DELIMITER:
                return
            if tag != _ITEM or (length == _UNDEFINED and not nested):
                raise Truncated(f"an item was expected at byte {at} of the data set")
            if length != _UNDEFINED:
                self._skip(length)
                continue
            while tag != _ITEM_DELIMITER:
                tag, length, vr = self._header()
                self._pass_over(tag, length, vr, depth)

    def _skip(self, length: int) -> None:
        self._position += length
        missing = self._data.missing(self._position)
        if missing > 0:
            raise Truncated(f"the data set is truncated, {missing} bytes are missing")
