"""Received instances, kept for good: the file first, then its row, and only then is it acknowledged."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dicom_node.archive.bucket_store import BucketStore
from dicom_node.archive.header import read_header
from dicom_node.archive.index import IndexEntry, InstanceIndex
from dicom_node.archive.store import InstanceStore
from dicom_node.audit.message import AuditedStudy
from dicom_node.cached_files import InBucket, open_files
from dicom_node.config import Config
from dicom_node.database import Database
from dicom_node.domain import Association, Instance, Series, Study
from dicom_node.receive.refusal import Reason, Refused
from dicom_node.tables import InstanceRow, SeriesRow


class Archive:
    """The receiver's sink."""

    def __init__(self, store: InstanceStore, index: InstanceIndex) -> None:
        self.store = store
        self.index = index

    def accept(self, path: Path, association: Association) -> AuditedStudy:
        """Keep the file at ``path`` and index it; returns when both are durable, with the study and what came of it.

        Raises:
            Refused: it was not kept, and why.
        """
        header = read_header(path)
        relative, size = self.store.keep(path, header)
        try:
            self.index.add(IndexEntry(header, association, relative, size, self.store.folder / relative))
        except Refused as refusal:
            if refusal.reason is Reason.UID_CONFLICT:  # what is held lies elsewhere, in its own study and series
                self.store.discard(relative)
            raise
        came = ((header.sop_class_uid, 1),)
        return AuditedStudy(header.study_instance_uid, header.patient_id, header.accession_number, came)


def open_archive(config: Config, database: Database) -> Archive:
    """The archive where the configuration has it: in the data folder, or in a bucket.

    Rows are not made again from a bucket after the machine's end (``archive/recovery.py``), so each is synced there.
    """
    files = open_files(config)
    if isinstance(files, InBucket):
        store: InstanceStore = BucketStore(config.instances_folder, config.incoming_folder, files)
        return Archive(store, InstanceIndex(database, synced=True))
    return Archive(InstanceStore(config.instances_folder, config.incoming_folder), InstanceIndex(database))


def first_instances(session: Session, study_instance_uid: str, folder: Path) -> list[Path]:
    """The file of the first instance to be analysed of each series, below ``folder``."""
    firsts = (
        select(func.min(InstanceRow.id))
        .where(InstanceRow.study_instance_uid == study_instance_uid, InstanceRow.analysable)
        .group_by(InstanceRow.series_instance_uid)
    )
    return [folder / path for path in session.scalars(select(InstanceRow.path).where(InstanceRow.id.in_(firsts)))]


def load_study(session: Session, study_instance_uid: str, folder: Path, last_instance_id: int | None = None) -> Study:
    """The study as held, with paths below ``folder``; up to ``last_instance_id`` in order of arrival where given."""
    query = (
        select(InstanceRow, SeriesRow.modality)
        .join(SeriesRow)
        .where(InstanceRow.study_instance_uid == study_instance_uid)
        .order_by(InstanceRow.id)
    )
    if last_instance_id is not None:
        query = query.where(InstanceRow.id <= last_instance_id)
    grouped: dict[str, list[Instance]] = {}
    for row, modality in session.execute(query):
        grouped.setdefault(row.series_instance_uid, []).append(
            Instance(
                study_instance_uid=row.study_instance_uid,
                series_instance_uid=row.series_instance_uid,
                sop_instance_uid=row.sop_instance_uid,
                sop_class_uid=row.sop_class_uid,
                transfer_syntax_uid=row.transfer_syntax_uid,
                modality=modality,
                path=folder / row.path,
            )
        )
    return Study(
        study_instance_uid,
        tuple(Series(uid, instances[0].modality, tuple(instances)) for uid, instances in grouped.items()),
    )
