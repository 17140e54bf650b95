"""The headers of a series, read from disk without pixels: the facts that selection decides on."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from pydicom import Dataset, dcmread
from pydicom.errors import BytesLengthException, InvalidDicomError

from dicom_node.domain import Instance, Series

_BROKEN = (
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    NotImplementedError,
    OSError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True, slots=True)
class SeriesHeaders:
    """One data set an instance, without pixels; ``unreadable`` are the SOP Instance UIDs whose file is broken."""

    series_instance_uid: str
    datasets: tuple[Dataset, ...]
    unreadable: tuple[str, ...] = ()


def read_series_headers(series: Series) -> SeriesHeaders:
    """Read the header of every instance of a series; broken files are named, not raised."""
    datasets, unreadable = _read(series.instances)
    return SeriesHeaders(series.series_instance_uid, tuple(datasets), tuple(unreadable))


def _read(instances: Sequence[Instance]) -> tuple[list[Dataset], list[str]]:
    datasets: list[Dataset] = []
    unreadable: list[str] = []
    for instance in instances:
        try:
            datasets.append(dcmread(instance.path, stop_before_pixels=True))
        except _BROKEN:
            unreadable.append(instance.sop_instance_uid)
    return datasets, unreadable
