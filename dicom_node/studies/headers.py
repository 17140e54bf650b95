"""The headers of a series, read from disk without pixels: the facts that selection decides on."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom import Dataset

from dicom_node.domain import Series
from dicom_node.part10 import UnreadableHeader, read_header


@dataclass(frozen=True, slots=True)
class SeriesHeaders:
    """One data set an instance, without pixels; ``unreadable`` are the SOP Instance UIDs whose file is broken."""

    series_instance_uid: str
    datasets: tuple[Dataset, ...]
    unreadable: tuple[str, ...] = ()


def read_series_headers(series: Series) -> SeriesHeaders:
    """Read the header of every instance of a series; broken files are named, not raised."""
    datasets: list[Dataset] = []
    unreadable: list[str] = []
    for instance in series.instances:
        try:
            datasets.append(read_header(instance.path))
        except UnreadableHeader:
            unreadable.append(instance.sop_instance_uid)
    return SeriesHeaders(series.series_instance_uid, tuple(datasets), tuple(unreadable))
