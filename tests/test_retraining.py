"""A new version from uploaded images: trained by a real worker and the real pipeline, compared, put to use."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa
from dbos._dbos import _get_or_create_dbos_registry

from dicom_node import retraining
from dicom_node.config import Config
from dicom_node.database import Database, now
from dicom_node.domain import VersionState
from dicom_node.inference.models import Models
from dicom_node.lifecycle.decisions import NotPossible, put_to_use
from dicom_node.lifecycle.labelled import NotTaken, add_labelled_data, keep_upload
from dicom_node.lifecycle.trainer import Stopped, TrainingFailed
from dicom_node.lifecycle.versions import OPEN, VersionFolders, cancel_version, read_progress, request_version
from dicom_node.lifecycle.watcher import ModelWatcher
from dicom_node.tables import LabelledDataRow, ModelVersionRow
from dicom_node.worker import Worker
from tests.faults.mortal_worker import mortal_worker
from tests.inference.bundles import MANIFEST, TORCH, write_bundle
from tests.stand_ins import StandInModels
from tests.training.images import write_classes

NAME = "tiny"
TRAIN_JSON = {
    "epochs": 1,
    "samples_per_epoch": 16,
    "batch_size": 16,
    "ema_decay": 0.5,
    "validation": {"fraction": 0.34, "perturbed_copies": 1},
}
SECONDS = 500
MANY_EPOCHS = 6


class Site:
    """A node with one tiny model, in this process."""

    def __init__(self, folder: Path) -> None:
        manifest = {**MANIFEST, "kind": "radiograph", "input": {"channels": 1}}
        self.bundle = write_bundle(folder / "models" / NAME, manifest=manifest)
        (self.bundle / "configs/train.json").write_text(json.dumps(TRAIN_JSON))
        self.config = Config.model_validate(
            {"node": {"data_folder": folder / "data", "models_folder": folder / "models"}}
        )
        self.database = Database(self.config.database_url)
        self.database.create_tables()
        self._worker: Worker | None = None

    def work(self) -> None:
        self._worker = Worker(self.config, self.database, StandInModels())  # type: ignore[arg-type]
        self._worker.start()

    def rest(self) -> None:
        if self._worker is not None:
            self._worker.stop()
            # One process holds one workflow engine; the next test brings its own.
            _get_or_create_dbos_registry().instance_info_map.clear()
            self._worker = None

    def add_data(self) -> None:
        """Labelled data of which only the row is looked at."""
        row = LabelledDataRow(
            model=NAME, name="set", folder="set", images={}, notes=[], uploaded_by="me", uploaded_at=now()
        )
        with self.database.session.begin() as session:
            session.add(row)

    def ask(self) -> int:
        with self.database.session.begin() as session:
            return request_version(session, NAME, "1.2.3", "me").id

    def version(self, version_id: int) -> ModelVersionRow:
        with self.database.reading() as session:
            return session.get_one(ModelVersionRow, version_id)

    def wait(self, version_id: int, *states: VersionState, seconds: float = 20) -> ModelVersionRow:
        deadline = time.monotonic() + seconds
        while (row := self.version(version_id)).state not in states:
            assert time.monotonic() < deadline, f"still {row.state}"
            time.sleep(0.05)
        return row


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    opened = Site(tmp_path)
    yield opened
    opened.rest()
    opened.database.close()


Trains = Callable[[Callable[[], bool]], None]


def _stand_in(monkeypatch: pytest.MonkeyPatch, train: Trains) -> None:
    def run(arguments: Sequence[str], log: Path, told_to_stop: Callable[[], bool]) -> None:
        train(told_to_stop)

    monkeypatch.setattr(retraining, "run_training", run)


def _until_told(told_to_stop: Callable[[], bool]) -> None:
    while not told_to_stop():
        time.sleep(0.02)
    raise Stopped


def _children(process: int) -> list[int]:
    """Those of all its threads."""
    told = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for children in told for child in children.read_text().split()]


def _lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _epochs(folders: VersionFolders) -> list[dict[str, float]]:
    """Those of the first fit, as far as it is."""
    return ((read_progress(folders) or {}).get("fits") or [[]])[0]


@pytest.mark.timeout(600)
def test_a_training_whose_worker_is_killed_goes_on_and_its_version_is_compared_and_put_to_use(
    site: Site, tmp_path: Path
) -> None:
    write_classes(tmp_path / "set" / "train", 6, seed=1)
    write_classes(tmp_path / "set" / "test", 6, seed=2)
    files = [(str(path.relative_to(tmp_path)), path.read_bytes()) for path in sorted((tmp_path / "set").rglob("*.png"))]
    folder, report = keep_upload(files, site.bundle, site.config.labelled_folder / NAME)
    with site.database.session.begin() as session:
        add_labelled_data(session, NAME, "set", folder, report, "me")
        number = request_version(session, NAME, "1.2.3", "me", epochs=MANY_EPOCHS).id
    folders = VersionFolders.of(site.config.versions_folder, number, NAME)

    with mortal_worker(site.config, tmp_path) as supervisor:
        while not (before := _epochs(folders)):
            assert site.version(number).state in OPEN, site.version(number).reason
            time.sleep(0.02)
        [life] = _children(supervisor)
        trainings = _children(life)
        os.kill(life, signal.SIGKILL)
        assert trainings
        while any(_lives(training) for training in trainings):
            time.sleep(0.05)
        assert len(_epochs(folders)) < MANY_EPOCHS, "the training had ended before it was killed"
        row = site.wait(number, VersionState.TRAINED, VersionState.FAILED, seconds=SECONDS)

    assert row.state is VersionState.TRAINED, row.reason
    [history, *_] = json.loads((folders.bundle / "docs/training.json").read_text())["fits"]
    assert history[: len(before)] == before
    assert len(history) == MANY_EPOCHS
    assert not [path for path in folders.root.rglob("*") if "draft" in path.name]
    assert row.comparison is not None
    assert row.comparison["candidate"]["images"] == row.comparison["in_use"]["images"] == 12
    assert row.comparison["candidate"]["version"] == "1.2.3+site.1"
    assert row.comparison["in_use"]["version"] == "1.2.3"
    models = Models(site.config.node.models_folder, TORCH)
    models.load()
    watcher = ModelWatcher(site.config, site.database, models)
    for version_id, expected in ((number, "1.2.3+site.1"), (0, "1.2.3"), (number, "1.2.3+site.1")):
        with site.database.session.begin() as session:
            put_to_use(session, NAME, version_id, "admin")
        watcher.look()
        assert models.reader(NAME).bundle.version == expected
    assert models.reader(NAME).bundle.identity.weights_digest == row.weights_digest


@pytest.mark.timeout(300)
def test_an_upload_that_training_refuses_leaves_nothing(site: Site, tmp_path: Path) -> None:
    write_classes(tmp_path / "set", 2, names=("cat", "dog"))
    files = [(str(path.relative_to(tmp_path)), path.read_bytes()) for path in sorted((tmp_path / "set").rglob("*.png"))]

    with pytest.raises(NotTaken, match="no class of the model"):
        keep_upload(files, site.bundle, site.config.labelled_folder / NAME)

    assert list((site.config.labelled_folder / NAME).iterdir()) == []


def test_there_is_nothing_to_train_on_before_images_are_uploaded(site: Site) -> None:
    with pytest.raises(NotPossible, match="upload"):
        site.ask()


def test_one_version_is_trained_at_a_time(site: Site) -> None:
    site.add_data()
    site.ask()

    with pytest.raises(NotPossible, match="already"):
        site.ask()


def test_a_training_is_cancelled(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    _stand_in(monkeypatch, _until_told)
    site.add_data()
    number = site.ask()
    site.work()
    site.wait(number, VersionState.TRAINING)

    with site.database.session.begin() as session:
        cancel_version(session, NAME, number, "admin")

    assert site.wait(number, VersionState.CANCELLED).reason == "It was cancelled."


def test_a_training_that_fails_says_why(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_told_to_stop: Callable[[], bool]) -> None:
        raise TrainingFailed("The images are refused: test has no image of tumor.")

    _stand_in(monkeypatch, fail)
    site.add_data()
    number = site.ask()

    site.work()

    assert "no image of tumor" in site.wait(number, VersionState.FAILED).reason


def test_a_training_that_a_stopping_worker_interrupts_is_begun_again_by_the_next(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[float] = []

    def train(told_to_stop: Callable[[], bool]) -> None:
        begun.append(time.monotonic())
        _until_told(told_to_stop)

    _stand_in(monkeypatch, train)
    site.add_data()
    number = site.ask()
    site.work()
    while not begun:
        time.sleep(0.02)

    site.rest()
    assert site.version(number).state is VersionState.TRAINING
    site.work()

    deadline = time.monotonic() + 20
    while len(begun) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with site.database.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(ModelVersionRow)) == 1
