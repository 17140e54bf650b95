"""Studies that crash or hang the worker, and the studies beside them."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml
from pydicom.uid import generate_uid

from dicom_node.demo.phantoms import chest_ct
from dicom_node.domain import Association, StudyState
from dicom_node.isolation import Isolation, TooOftenInterrupted
from dicom_node.studies import analyses
from dicom_node.tables import AnalysisRow, StudyRow
from tests.receiving_node import ReceivingNode
from tests.storage_scp import ProgrammableStorage

CALLER = Association("MODALITY", "DICOMNODE", "127.0.0.1")


def _receive(node: ReceivingNode) -> tuple[str, str]:
    """Take a small CT into the archive; its study and series."""
    images = chest_ct(slices=12, size=64)
    study, series = generate_uid(), generate_uid()
    for image in images:
        image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID = study, series, generate_uid()
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        path = node.config.incoming_folder / f"{image.SOPInstanceUID}.dcm"
        image.save_as(path, enforce_file_format=True)
        node.archive.accept(path, CALLER)
    return study, series


HANGING = """
import sys, time
from dicom_node.database import Database
from dicom_node.isolation import Isolation
with Isolation(Database(sys.argv[1]), limit_seconds=2).reading(sys.argv[2]):
    time.sleep(3600)
"""


def test_a_reading_that_hangs_ends_the_process_and_is_counted(
    start_receiving: Callable[..., ReceivingNode], tmp_path: Path
) -> None:
    node = start_receiving(tmp_path)
    study, _ = _receive(node)
    with node.database.session.begin() as session:
        name = analyses.open_analysis(session, study, "0" * 64, 1 << 30).analysis_id
    isolation = Isolation(node.database, limit_seconds=60)
    with isolation.reading(name):
        pass

    for attempt in range(1, 4):
        command = [sys.executable, "-c", HANGING, node.config.database_url, name]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 1
        assert "Timeout" in ended.stderr, "the log says where each thread was"
        with node.database.reading() as session:
            assert session.get_one(AnalysisRow, name).interrupted == attempt

    with pytest.raises(TooOftenInterrupted, match="died 3 times"), isolation.reading(name):
        pass


def test_a_reading_that_was_interrupted_runs_alone(
    start_receiving: Callable[..., ReceivingNode], tmp_path: Path
) -> None:
    node = start_receiving(tmp_path)
    studies = [_receive(node)[0] for _ in range(3)]
    with node.database.session.begin() as session:
        names = [analyses.open_analysis(session, study, "0" * 64, 1 << 30).analysis_id for study in studies]
        session.get_one(AnalysisRow, names[0]).interrupted = 1
    isolation = Isolation(node.database, limit_seconds=60)
    under_way: set[str] = set()
    together: set[frozenset[str]] = set()

    def read(name: str) -> None:
        for _ in range(5):
            with isolation.reading(name):
                under_way.add(name)
                time.sleep(0.02)
                together.add(frozenset(under_way))
                under_way.discard(name)

    threads = [threading.Thread(target=read, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert frozenset([names[0]]) in together
    assert not any(names[0] in group and len(group) > 1 for group in together)
    assert frozenset(names[1:]) in together, "the others are read side by side"


def _states(node: ReceivingNode) -> dict[str, tuple[StudyState, str]]:
    with node.database.reading() as session:
        return {row.study_instance_uid: (row.state, row.reason) for row in session.scalars(sa.select(StudyRow))}


def test_a_study_that_ends_the_worker_is_parked_after_three_attempts_and_the_others_go_on(
    start_receiving: Callable[..., ReceivingNode], storage_scp: ProgrammableStorage, tmp_path: Path
) -> None:
    node = start_receiving(tmp_path)
    poisonous, poison_series = _receive(node)
    others = [_receive(node)[0] for _ in range(2)]
    configuration = tmp_path / "node.yaml"
    settings = {
        "node": {"data_folder": str(tmp_path)},
        "completeness": {"quiet_seconds": {"CT": 0.1}},
        "worker": {"concurrent_studies": 3},
        "peers": [
            {"name": "a", "ae_title": "A", "host": "127.0.0.1", "port": storage_scp.port, "receives_results": True}
        ],
    }
    configuration.write_text(yaml.safe_dump(settings), encoding="utf-8")
    command = [sys.executable, "-m", "tests.faults.mortal_worker", str(configuration), poison_series]

    worker = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + 240
        unfinished = {StudyState.RECEIVING, StudyState.QUEUED, StudyState.ANALYSING, StudyState.DELIVERING}
        while unfinished & {state for state, _ in _states(node).values()} and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        worker.terminate()
        worker.wait()

    ended = _states(node)
    assert [ended[study] for study in others] == [(StudyState.DELIVERED, "")] * 2
    state, reason = ended[poisonous]
    assert state is StudyState.FAILED
    assert "The worker died 3 times" in reason
    with node.database.reading() as session:
        interrupted = {row.study_instance_uid: row.interrupted for row in session.scalars(sa.select(AnalysisRow))}
    assert interrupted[poisonous] == 3
    assert max(interrupted[study] for study in others) <= 1, "read beside it once at most, and then apart from it"
