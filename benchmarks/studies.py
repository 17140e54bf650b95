"""The studies that are sent: synthetic ones, or real files, each time under new UIDs, and their sender."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import generate_uid
from pynetdicom import AE

from dicom_node.transport import associate


def read_study(folder: Path) -> list[Dataset]:
    """The files of one series, in the order of their names."""
    return [dcmread(path) for path in sorted(folder.iterdir()) if path.is_file()]


def renamed(study: Sequence[Dataset]) -> list[Dataset]:
    """The same images as another study: they share their pixels, not their UIDs."""
    study_uid, series_uid = generate_uid(), generate_uid()
    images = []
    for source in study:
        dataset = Dataset()
        dataset.update(source)
        uids = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid, "SOPInstanceUID": generate_uid()}
        for keyword, uid in uids.items():
            del dataset[keyword]  # assigning would change the element, which is the source's too
            setattr(dataset, keyword, uid)
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.update(source.file_meta)
        del dataset.file_meta.MediaStorageSOPInstanceUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        images.append(dataset)
    return images


class Modality:
    """A sender that keeps no association open between studies."""

    def __init__(self, port: int, called_ae_title: str = "DICOMNODE", ae_title: str = "MODALITY") -> None:
        self._port, self._called = port, called_ae_title
        self._entity = AE(ae_title)
        self._entity.maximum_pdu_size = 131072

    def send(self, study: Sequence[Dataset]) -> float:
        """Send a study over one association; returns when its last image was acknowledged (``time.perf_counter``).

        Raises:
            RuntimeError: the node took no association, or not every image.
        """
        self._entity.requested_contexts = []
        for sop_class, syntax in {(d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in study}:
            self._entity.add_requested_context(sop_class, syntax)
        association = associate(self._entity, "127.0.0.1", self._port, ae_title=self._called)
        if not association.is_established:
            raise RuntimeError("the node took no association")
        try:
            for dataset in study:
                status = association.send_c_store(dataset)
                if "Status" not in status or status.Status != 0:
                    raise RuntimeError(f"an image was not taken: {status}")
            return time.perf_counter()
        finally:
            association.release()
