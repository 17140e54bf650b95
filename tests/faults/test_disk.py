"""Disks that fill up or become read-only while images arrive."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from dicom_node.database import RefusalRow
from tests.faults.conftest import read_only
from tests.receiving_node import ReceivingNode, ct_image
from tests.stand_ins import folder_files

Start = Callable[..., ReceivingNode]
Mount = Callable[[int], Path]


def test_a_full_disk_refuses_images_and_loses_none_that_was_acknowledged(start_receiving: Start, mount: Mount) -> None:
    disk = mount(8)
    node = start_receiving(disk / "data")
    images = [ct_image() for _ in range(80)]

    statuses = node.send(images)

    acknowledged = {image.SOPInstanceUID for image, status in zip(images, statuses, strict=True) if status == 0x0000}
    assert 20 < len(acknowledged) < 80
    assert set(statuses) <= {0x0000, 0xA700, None}
    assert 0xA700 in statuses
    assert acknowledged <= node.held()
    assert folder_files(node.config.incoming_folder) == []


def test_images_are_taken_again_once_there_is_room(start_receiving: Start, mount: Mount) -> None:
    disk = mount(16)
    node = start_receiving(disk / "data", maximum_disk_percent=70)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(12 << 20))

    assert node.send([ct_image()]) == [0xA700]
    ballast.unlink()
    image = ct_image()
    assert node.send([image]) == [0x0000]

    assert node.held() == {image.SOPInstanceUID}
    with node.database.reading() as session:
        assert "disk almost full" in session.scalars(sa.select(RefusalRow.reason)).one()


def test_a_read_only_store_refuses_images_until_it_can_be_written(start_receiving: Start, tmp_path: Path) -> None:
    node = start_receiving(tmp_path)
    before, during, after = ct_image("1.2.3"), ct_image("1.2.4"), ct_image("1.2.5")
    assert node.send([before]) == [0x0000]

    with read_only(node.config.instances_folder):
        assert node.send([during]) == [0xA700]

    assert node.send([after]) == [0x0000]
    assert node.held() == {before.SOPInstanceUID, after.SOPInstanceUID}
    with node.database.reading() as session:
        assert session.scalars(sa.select(RefusalRow.reason)).one() == "store cannot be written: Read-only file system"
