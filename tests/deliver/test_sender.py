"""The storage SCU against real listeners."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from dicom_node.config import Peer
from dicom_node.deliver.sender import Sender, UnreadableFile
from dicom_node.domain import DeliveryState
from tests.storage_scp import ProgrammableStorage


def _peer(port: int) -> Peer:
    return Peer(name="archive", ae_title="ARCHIVE", host="127.0.0.1", port=port)


@pytest.fixture
def sender() -> Sender:
    return Sender("DICOMNODE", timeout_seconds=5)


@pytest.fixture
def files(tmp_path: Path, phantom_chest_ct: list[Dataset]) -> list[Path]:
    paths = [tmp_path / f"{number}.dcm" for number in range(3)]
    for path, dataset in zip(paths, phantom_chest_ct, strict=False):
        pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return paths


@pytest.fixture
def echo_only(free_port: int) -> Iterator[int]:
    entity = AE("ARCHIVE")
    entity.add_supported_context(Verification)
    entity.start_server(("127.0.0.1", free_port), block=False)
    yield free_port
    entity.shutdown()


def test_each_file_has_its_outcome(sender: Sender, storage_scp: ProgrammableStorage, files: list[Path]) -> None:
    storage_scp.statuses.extend([0x0000, 0xA700, 0xC000])

    outcomes = dict(sender.send(_peer(storage_scp.port), files))

    assert [outcomes[path].state for path in files] == [
        DeliveryState.DELIVERED,
        DeliveryState.RETRYING,
        DeliveryState.PARKED,
    ]


def test_what_arrives_is_what_was_sent(
    sender: Sender, storage_scp: ProgrammableStorage, files: list[Path], phantom_chest_ct: list[Dataset]
) -> None:
    list(sender.send(_peer(storage_scp.port), files))

    assert [received.PixelData for received in storage_scp.received] == [
        dataset.PixelData for dataset in phantom_chest_ct[:3]
    ]


def test_a_peer_that_is_down_is_tried_again_later(sender: Sender, free_port: int, files: list[Path]) -> None:
    [first, *_] = [outcome for _, outcome in sender.send(_peer(free_port), files)]

    assert first.state is DeliveryState.RETRYING
    assert "cannot be reached" in first.message


def test_a_peer_that_takes_none_of_the_classes_says_so(sender: Sender, echo_only: int, files: list[Path]) -> None:
    [first, *_] = [outcome for _, outcome in sender.send(_peer(echo_only), files)]

    assert "accepts none of the SOP classes" in first.message


def test_echo_of_a_peer_that_answers_finds_no_problem(sender: Sender, echo_only: int) -> None:
    assert sender.echo(_peer(echo_only)) is None


def test_echo_of_a_peer_that_is_down_names_it(sender: Sender, free_port: int) -> None:
    problem = sender.echo(_peer(free_port))

    assert problem is not None
    assert f"127.0.0.1:{free_port}" in problem


def test_a_file_that_is_not_dicom_is_named_before_anything_is_sent(
    sender: Sender, storage_scp: ProgrammableStorage, files: list[Path], tmp_path: Path
) -> None:
    text = tmp_path / "note.txt"
    text.write_text("hello")

    with pytest.raises(UnreadableFile, match=r"note\.txt"):
        list(sender.send(_peer(storage_scp.port), [*files, text]))

    assert storage_scp.requests == 0


def test_a_peer_that_takes_implicit_vr_only_is_sent_the_file_converted(
    sender: Sender, free_port: int, files: list[Path]
) -> None:
    received: list[Dataset] = []

    def store(event: evt.Event) -> int:
        received.append(event.dataset)
        return 0x0000

    entity = AE("ARCHIVE")
    entity.add_supported_context(CTImageStorage, ImplicitVRLittleEndian)
    entity.start_server(("127.0.0.1", free_port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    outcomes = dict(sender.send(_peer(free_port), files[:1]))
    entity.shutdown()

    assert outcomes[files[0]].state is DeliveryState.DELIVERED
    assert received == [pydicom.dcmread(files[0])]
