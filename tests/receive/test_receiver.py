"""The storage SCP over real sockets: what is answered, and what is written down."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom import Dataset, FileMetaDataset, uid
from pydicom.uid import generate_uid
from pynetdicom import build_context

from dicom_node.domain import Association
from dicom_node.receive.contexts import ACCEPTED_SOP_CLASSES, TRANSFER_SYNTAXES
from dicom_node.receive.refusal import Reason, Refused

from .conftest import NodeMaker


def _image() -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = uid.CTImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID = dataset.SeriesInstanceUID = generate_uid()
    dataset.Rows = dataset.Columns = 64
    dataset.BitsAllocated = 16
    dataset.PixelData = np.arange(64 * 64, dtype="<u2").tobytes()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian
    return dataset


def test_echo_is_answered(start_node: NodeMaker) -> None:
    association = start_node().call()

    assert association.send_c_echo().Status == 0x0000
    association.release()


def test_an_instance_reaches_the_sink_as_a_whole_file_before_success_is_answered(start_node: NodeMaker) -> None:
    node = start_node()
    image = _image()
    association = node.call()

    status = association.send_c_store(image)

    assert status.Status == 0x0000
    [(received, sender)] = node.sink.received
    assert received[128:132] == b"DICM"
    assert image.PixelData in received
    assert sender == Association("SENDER", "DICOMNODE", "127.0.0.1")
    association.release()
    assert not list(node.config.incoming_folder.iterdir())


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason.status is not None])
def test_a_refusal_is_answered_with_its_status_and_words_and_written_down(
    start_node: NodeMaker, reason: Reason
) -> None:
    node = start_node()
    node.sink.error = Refused(reason, "the text")
    image = _image()
    association = node.call()

    answer = association.send_c_store(image)

    assert answer.Status == reason.status
    assert answer.ErrorComment == "the text"
    assert node.refusals.lines == [("SENDER", reason, "the text", image.SOPInstanceUID)]
    association.release()


def test_an_internal_error_is_answered_and_the_receiver_goes_on(start_node: NodeMaker) -> None:
    node = start_node()
    association = node.call()
    node.sink.error = RuntimeError("a bug")

    first = association.send_c_store(_image())
    node.sink.error = None
    second = association.send_c_store(_image())

    assert (first.Status, second.Status) == (0xC000, 0x0000)
    assert "RuntimeError" in node.refusals.lines[0][2]
    association.release()
    assert not list(node.config.incoming_folder.iterdir())


def test_a_full_disk_is_out_of_resources_and_nothing_is_kept(start_node: NodeMaker) -> None:
    node = start_node(minimum_free_megabytes=1 << 40)
    association = node.call()

    assert association.send_c_store(_image()).Status == 0xA700

    assert not node.sink.received
    assert node.refusals.lines[0][1] is Reason.DISK_FULL
    association.release()


def test_an_unlisted_sender_is_rejected_and_written_down(start_node: NodeMaker) -> None:
    node = start_node(senders="listed")

    stranger, known = node.call("STRANGER"), node.call("KNOWN")

    assert not stranger.is_established
    assert known.is_established
    known.release()
    assert node.refusals.lines == [
        ("STRANGER", Reason.UNLISTED_SENDER, "association rejected: its calling AE title is not listed as a sender", "")
    ]


def test_a_call_to_another_ae_title_is_rejected_and_written_down(start_node: NodeMaker) -> None:
    node = start_node()

    assert not node.call(called="OTHER").is_established

    assert node.refusals.lines[0][1] is Reason.WRONG_CALLED_AE_TITLE


def test_a_kind_of_object_that_is_not_accepted_is_written_down(start_node: NodeMaker) -> None:
    node = start_node()

    association = node.call(contexts=[build_context(uid.CTImageStorage), build_context(uid.MRImageStorage)])

    assert association.is_established
    association.release()
    assert "MR Image Storage" in node.refusals.lines[0][2]


@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES, ids=lambda syntax: syntax.name)
def test_every_syntax_is_accepted_for_every_class(start_node: NodeMaker, syntax: uid.UID) -> None:
    association = start_node().call(contexts=[build_context(sop_class, syntax) for sop_class in ACCEPTED_SOP_CLASSES])

    assert {context.abstract_syntax for context in association.accepted_contexts} == set(ACCEPTED_SOP_CLASSES)
    association.release()
