"""Index again what was received shortly before the machine went down.

The index is not synced before an instance is acknowledged (``Database.unsynced``); its file is, under its final name,
and says everything that the row said. What the machine's end took from the index is made again from the files.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from pydicom.filereader import read_file_meta_info

from dicom_node.archive.header import read_header
from dicom_node.archive.index import IndexEntry, InstanceIndex
from dicom_node.config import Config
from dicom_node.database import Database
from dicom_node.domain import Association
from dicom_node.receive.refusal import Reason, Refused
from dicom_node.tables import InstanceRow

log = logging.getLogger(__name__)

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_EPOCH = datetime(1970, 1, 2, tzinfo=UTC)
_MARGIN = timedelta(days=1)
"""An instance's file is written before its row is committed, by as much as an association is slow, and clocks jump."""


def index_again(config: Config, database: Database, index: InstanceIndex) -> None:
    """Index the whole files of the store that the index lacks, where the machine has started since the last time.

    Looked through are the files that are newer than the newest row, less a day: rows are lost from the end only.
    """
    if database.engine.dialect.name != "sqlite" or config.store is not None:
        return  # a commit is durable there
    boot = _BOOT_ID.read_text(encoding="ascii").strip()
    last_boot = config.node.data_folder / "boot-id"
    if last_boot.exists() and last_boot.read_text(encoding="ascii") == boot:
        return
    with database.reading() as session:
        newest = session.scalar(sa.select(sa.func.max(InstanceRow.received_at))) or _EPOCH
        since = newest - _MARGIN
        held = set(session.scalars(sa.select(InstanceRow.path).where(InstanceRow.received_at >= since)))
    folder = config.instances_folder
    lacking = [path for path in _files_since(folder, since) if str(path.relative_to(folder)) not in held]
    count = sum(_index(path, folder, index) for path in lacking)
    if count:
        log.warning("indexed %d instances again that the index lacked when the machine started", count)
    last_boot.write_text(boot, encoding="ascii")


def _files_since(folder: Path, since: datetime) -> Iterator[Path]:
    """The instances that were written, and so entered into their folders, since then."""
    earliest = since.timestamp()
    for series in folder.glob("*/*"):
        if series.is_dir() and series.stat().st_mtime >= earliest:
            yield from (path for path in series.glob("*.dcm") if path.stat().st_mtime >= earliest)


def _index(path: Path, folder: Path, index: InstanceIndex) -> bool:
    """Whether the file is an instance that could be indexed.

    Raises:
        Refused: the database cannot be written.
    """
    try:
        header = read_header(path)
        sender = str(read_file_meta_info(path).get("SourceApplicationEntityTitle", ""))
        association = Association(calling_ae_title=sender, called_ae_title="", address="")
        index.add(IndexEntry(header, association, str(path.relative_to(folder)), path.stat().st_size, path))
    except Refused as refusal:
        if refusal.reason is Reason.INDEX_FAILED:
            raise
        log.warning("%s was never acknowledged and is left alone: %s", path, refusal.text)
        return False
    return True
