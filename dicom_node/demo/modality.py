"""The scanner of the demonstration: sends a study to the node over DICOM."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset
from pynetdicom import AE

from dicom_node.transport import associate


class SendError(Exception):
    """The node did not take a study; the text says what it answered."""


def send_study(
    images: Sequence[Dataset], *, to_ae_title: str, port: int, host: str = "127.0.0.1", ae_title: str = "MODALITY"
) -> None:
    """Send the images of one study in one association to an application, on this machine unless ``host`` is given.

    Raises:
        SendError: the association was not accepted, or an image was not stored.
    """
    entity = AE(ae_title)
    for sop_class, syntax in sorted({(image.SOPClassUID, image.file_meta.TransferSyntaxUID) for image in images}):
        entity.add_requested_context(sop_class, syntax)
    association = associate(entity, host, port, ae_title=to_ae_title)
    if not association.is_established:
        raise SendError(f"{to_ae_title} on port {port} did not accept the association.")
    try:
        for image in images:
            answer = association.send_c_store(image)
            if "Status" not in answer:
                raise SendError(f"{to_ae_title} broke the association before it answered for every image.")
            if answer.Status != 0:
                raise SendError(f"{to_ae_title} answered an image with status 0x{answer.Status:04X}.")
    finally:
        association.release()
