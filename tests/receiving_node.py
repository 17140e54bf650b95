"""A receiver with its archive in this process, for faults that are made to happen around it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import sqlalchemy as sa
from pydicom import Dataset, FileMetaDataset, uid
from pydicom.uid import generate_uid
from pynetdicom import AE, build_context

from dicom_node.archive.archive import Archive
from dicom_node.archive.index import InstanceIndex
from dicom_node.archive.refusals import RefusalTable
from dicom_node.archive.store import InstanceStore
from dicom_node.audit.trail import AuditTrail
from dicom_node.audit.transfers import Transfers
from dicom_node.config import Config
from dicom_node.database import Database
from dicom_node.demo.processes import free_port
from dicom_node.receive.receiver import Receiver
from dicom_node.tables import InstanceRow


def ct_image(study: str = "1.2.3", size: int = 256) -> Dataset:
    """A CT image of ``size`` squared 16-bit pixels of noise."""
    dataset = Dataset()
    dataset.SOPClassUID = uid.CTImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID = study
    dataset.SeriesInstanceUID = f"{study}.1"
    dataset.Modality = "CT"
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "4711"
    dataset.Rows = dataset.Columns = size
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 15, 0, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = np.random.default_rng().integers(0, 4096, (size, size), np.uint16).tobytes()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    return dataset


class ReceivingNode:
    """Receiver, archive and database on ``folder``."""

    def __init__(self, folder: Path, **receive: object) -> None:
        settings = {
            "host": "127.0.0.1",
            "port": free_port(),
            "minimum_free_megabytes": 0,
            "maximum_disk_percent": 100,
            **receive,
        }
        self.config = Config.model_validate({"node": {"data_folder": folder}, "receive": settings})
        self.database = Database(self.config.database_url)
        self.database.create_tables()
        index = InstanceIndex(self.database)
        self.store = InstanceStore(self.config.instances_folder, self.config.incoming_folder)
        self.archive = Archive(self.store, index)
        self.refusals = RefusalTable(self.database)
        self._transfers = Transfers(AuditTrail.configured(self.config), self.config.node.ae_title)
        self._receiver = Receiver(self.config, self.archive, self.refusals, transfers=self._transfers)
        self._receiver.start()

    def send(self, datasets: list[Dataset]) -> list[int | None]:
        """C-STORE statuses, in one association where it lasts; None where no answer came."""
        statuses: list[int | None] = []
        association = None
        for dataset in datasets:
            if association is None or not association.is_established:
                association = AE("MODALITY").associate(
                    "127.0.0.1",
                    self.config.receive.port,
                    contexts=[build_context(uid.CTImageStorage, uid.ExplicitVRLittleEndian)],
                    ae_title="DICOMNODE",
                )
                assert association.is_established
            answer = association.send_c_store(dataset)
            statuses.append(answer.Status if "Status" in answer else None)
        if association is not None and association.is_established:
            association.release()
        return statuses

    def held(self) -> set[str]:
        """The indexed instances, each of which is read in whole."""
        with self.database.reading() as session:
            rows = session.execute(sa.select(InstanceRow.sop_instance_uid, InstanceRow.path)).all()
        for instance_uid, path in rows:
            dataset = pydicom.dcmread(self.config.instances_folder / path)
            assert dataset.SOPInstanceUID == instance_uid
            assert len(dataset.PixelData) == 2 * dataset.Rows * dataset.Columns
        return {instance_uid for instance_uid, _ in rows}

    def stop(self) -> None:
        self._receiver.stop()
        self._transfers.close()
        self.database.close()
