"""Files in which data sets arrive: Part 10 files in the incoming folder, written piece by piece."""

from __future__ import annotations

import ctypes
import itertools
import os
import socket
import struct
from pathlib import Path

from pydicom.uid import UID

from dicom_node.domain import IMPLEMENTATION_CLASS_UID
from dicom_node.receive.refusal import Reason, Refused
from dicom_node.transport import IMPLEMENTATION_VERSION_NAME

_NUMBERS = itertools.count()
_PREFIX = b"\0" * 128 + b"DICM"

_sync_file_range = ctypes.CDLL(None).sync_file_range
_sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
_SYNC_FILE_RANGE_WRITE = 2


class IncomingFile:
    """One data set on its way into a file; from ``finish`` on, ``path`` is the caller's.

    A file that cannot be written, or grows beyond ``maximum_bytes``, is removed at once and ``refusal`` says why: the
    rest of the data set is then read from the sender and dropped, so that the refusal can be answered.
    """

    def __init__(self, folder: Path, file_meta: bytes, maximum_bytes: int) -> None:
        self.path = folder / f"{socket.gethostname()}-{os.getpid()}-{next(_NUMBERS)}.dcm"
        self.refusal: Refused | None = None
        self._left = maximum_bytes
        self._file: int | None = None
        try:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
            os.write(self._file, file_meta)
        except OSError as error:
            self._refuse(error)

    def write(self, data: memoryview) -> None:
        """Append a piece of the data set."""
        if self._file is None:
            return
        self._left -= len(data)
        if self._left < 0:
            self._fail(Refused(Reason.OBJECT_TOO_LARGE, "the object is larger than the node takes"))
            return
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError as error:
            self._refuse(error)

    def finish(self) -> None:
        """The data set is complete; the disk may begin with it while it is looked at."""
        if self._file is not None:
            _begin_writing_out(self._file)
        self._close()

    def discard(self) -> None:
        """Remove the file, if it is still there."""
        self._close()
        self.path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _refuse(self, error: OSError) -> None:
        reason = f"store cannot be written: {error.strerror}"
        self._fail(Refused(Reason.STORE_FAILED, reason))

    def _fail(self, refusal: Refused) -> None:
        self.refusal = refusal
        self.discard()


def file_meta(sop_class: UID, sop_instance: UID, transfer_syntax: UID, sender: str) -> bytes:
    """Preamble, prefix and File Meta Information (PS3.10 7.1) of an object as it was received."""
    elements = (
        struct.pack("<HH2sHI", 0x0002, 0x0001, b"OB", 0, 2)
        + b"\x00\x01"
        + _text(0x0002, b"UI", sop_class)
        + _text(0x0003, b"UI", sop_instance)
        + _text(0x0010, b"UI", transfer_syntax)
        + _text(0x0012, b"UI", IMPLEMENTATION_CLASS_UID)
        + _text(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME)
        + _text(0x0016, b"AE", sender)
    )
    return _PREFIX + struct.pack("<HH2sHI", 0x0002, 0x0000, b"UL", 4, len(elements)) + elements


def _text(element: int, vr: bytes, value: str) -> bytes:
    content = value.encode("ascii", "replace")
    content += (b"\0" if vr == b"UI" else b" ") * (len(content) % 2)
    return struct.pack("<HH2sH", 0x0002, element, vr, len(content)) + content


def _begin_writing_out(descriptor: int) -> None:
    """Start writing a file's pages to the disk without waiting, so that the sync that follows has less to wait for."""
    _sync_file_range(descriptor, 0, 0, _SYNC_FILE_RANGE_WRITE)  # an error here is one of the sync, too
