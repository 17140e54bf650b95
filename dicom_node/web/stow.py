"""STOW-RS (PS3.18 10.5): the parts of a request, written to files as they come, and the answer about each object."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from pydicom import Dataset
from pydicom.uid import UID
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from dicom_node.receive.incoming import IncomingFile
from dicom_node.web.intake import Taken

_DICOM = "application/dicom"
_LARGEST_HEADER = 1 << 14


class NotMultipart(Exception):
    """The body is not what STOW-RS wants; the text says what is."""


class StoreResponse:
    """Collects what became of each object, for the Store Instances Response (PS3.18 I.2)."""

    def __init__(self) -> None:
        self._kept: list[Dataset] = []
        self._failed: list[Dataset] = []

    def add(self, taken: Taken) -> None:
        """Say what became of an object; UIDs that could not be read are left out."""
        item = Dataset()
        if taken.sop_class_uid:
            item.ReferencedSOPClassUID = UID(taken.sop_class_uid)
        if taken.sop_instance_uid:
            item.ReferencedSOPInstanceUID = UID(taken.sop_instance_uid)
        if taken.refusal is None:
            self._kept.append(item)
            return
        item.FailureReason = int(taken.refusal.status)
        item.ErrorComment = taken.refusal.text[:64]
        self._failed.append(item)

    @property
    def status(self) -> HTTPStatus:
        """200 where every object was kept, 202 where some were, 409 where none was (PS3.18 Table 10.5.3-1)."""
        if not self._failed and self._kept:
            return HTTPStatus.OK
        return HTTPStatus.ACCEPTED if self._kept else HTTPStatus.CONFLICT

    def as_json(self) -> dict[str, Any]:
        """The response as DICOM JSON Model (PS3.18 F)."""
        response = Dataset()
        if self._failed:
            response.FailedSOPSequence = self._failed
        if self._kept:
            response.ReferencedSOPSequence = self._kept
        content: dict[str, Any] = response.to_json_dict()
        return content


class StowParts:
    """Takes the bytes of a multipart/related body, and hands on each part as a finished file.

    Raises:
        NotMultipart: the content type is not multipart/related of DICOM objects with a boundary.
    """

    def __init__(
        self, content_type: str, open_file: Callable[[], IncomingFile], on_file: Callable[[IncomingFile], None]
    ) -> None:
        kind, options = parse_options_header(content_type)
        wanted = options.get(b"type", _DICOM.encode()).decode("latin-1").strip().lower()
        if kind.strip().lower() != b"multipart/related" or wanted != _DICOM or not options.get(b"boundary"):
            raise NotMultipart('Send multipart/related; type="application/dicom" with a boundary (PS3.18 10.5.1).')
        self._open_file, self._on_file = open_file, on_file
        self._file: IncomingFile | None = None
        self._name, self._value = bytearray(), bytearray()
        self._kind = _DICOM
        self._whole = False
        self._parser = MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": self._begin,
                "on_header_field": self._on_name,
                "on_header_value": self._on_value,
                "on_header_end": self._on_header,
                "on_headers_finished": self._open,
                "on_part_data": self._write,
                "on_part_end": self._finish,
                "on_end": self._on_end,
            },
        )

    def write(self, data: bytes) -> None:
        """Take the next piece of the body.

        Raises:
            NotMultipart: it breaks the form of a multipart body, or a part is no DICOM object.
        """
        try:
            self._parser.write(data)
        except MultipartParseError as error:
            raise NotMultipart(f"The body is no multipart/related message: {error}.") from None

    def close(self) -> None:
        """End of the body.

        Raises:
            NotMultipart: it ended in the middle of a part.
        """
        if not self._whole:
            raise NotMultipart("The body ended before its closing boundary.")

    def discard(self) -> None:
        """Remove what has come of a part that did not end."""
        if self._file is not None:
            self._file.discard()
            self._file = None

    def _begin(self) -> None:
        self._kind = _DICOM
        self._name.clear()
        self._value.clear()

    def _on_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]
        self._limit()

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._limit()

    def _limit(self) -> None:
        if len(self._name) + len(self._value) > _LARGEST_HEADER:
            raise NotMultipart("A header of a part is too long.")

    def _on_header(self) -> None:
        if bytes(self._name).strip().lower() == b"content-type":
            self._kind = self._value.decode("latin-1").partition(";")[0].strip().lower()
        self._name.clear()
        self._value.clear()

    def _open(self) -> None:
        if self._kind != _DICOM:
            raise NotMultipart(f"A part is {self._kind or 'of no type'}; only application/dicom is taken.")
        self._file = self._open_file()

    def _write(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(memoryview(data)[start:end])

    def _finish(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.finish()
            self._on_file(file)

    def _on_end(self) -> None:
        self._whole = True
