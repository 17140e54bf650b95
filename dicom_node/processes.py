"""The three processes, put together from their parts: receiver, worker, web."""

from __future__ import annotations

import fcntl
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_node.archive.archive import open_archive
from dicom_node.archive.recovery import index_again
from dicom_node.archive.refusals import RefusalTable
from dicom_node.audit.trail import AuditTrail
from dicom_node.audit.transfers import Transfers
from dicom_node.cached_files import make_room
from dicom_node.config import Config
from dicom_node.database import Database
from dicom_node.deliver.commitment import CommitmentTable
from dicom_node.liveness import BEAT_SECONDS, WorkerIdTaken
from dicom_node.parent import end_with_parent
from dicom_node.periodic import Periodic
from dicom_node.receive.receiver import Receiver
from dicom_node.supervisor import stop_event

if TYPE_CHECKING:
    from dicom_node.inference.models import Models
    from dicom_node.worker import Worker

log = logging.getLogger(__name__)

_FLUSH_EVERY_SECONDS = 5.0
_SWEEP_EVERY_SECONDS = 600.0
_UNFINISHED_AFTER_SECONDS = 900.0
_ROOM_EVERY_SECONDS = 60.0


def run_receiver(config: Config) -> None:
    """Receive until told to stop.

    Raises:
        OSError: the port cannot be bound or the data folder not be written.
    """
    stopping = _stop_event()
    database = Database(config.database_url)
    database.wait_for_tables(stopping)
    archive = open_archive(config, database)
    archive.store.sweep()
    refusals = RefusalTable(database)
    index_again(config, database, archive.index)
    transfers = Transfers(AuditTrail.configured(config), config.node.ae_title)
    receiver = Receiver(config, archive, refusals, CommitmentTable(config, database), transfers)
    receiver.start()
    _bound_cache(config)
    swept = time.monotonic()
    while not stopping.wait(_FLUSH_EVERY_SECONDS):
        refusals.flush()
        if time.monotonic() - swept >= _SWEEP_EVERY_SECONDS:
            with suppress(OSError):  # a store that cannot be written is told to each sender
                archive.store.sweep(_UNFINISHED_AFTER_SECONDS)
            swept = time.monotonic()
    receiver.stop()
    transfers.close()
    refusals.flush()
    database.close()


def run_worker(config: Config) -> None:
    """Analyse and deliver until told to stop.

    Raises:
        BundleError: there is no models folder.
    """
    from dicom_node.lifecycle.watcher import ModelWatcher
    from dicom_node.worker import Worker  # with the workflow engine, which takes a second to import

    stopping = _stop_event()
    database = Database(config.database_url)
    database.wait_for_tables(stopping)
    models = load_models(config, database)
    worker, watcher = Worker(config, database, models), ModelWatcher(config, database, models)
    with only_process(config.worker_lock_path, stopping) as alone:
        if alone and _start(worker, stopping):
            watcher.start()
            _bound_cache(config)
            stopping.wait()
            watcher.stop()
            worker.stop()
    database.close()


def _start(worker: Worker, stopping: threading.Event) -> bool:
    """Start once no worker of this id is alive on another host; false where this one is told to stop before."""
    while not stopping.is_set():
        try:
            worker.start()
        except WorkerIdTaken as error:
            log.warning("waiting: %s", error)
            stopping.wait(BEAT_SECONDS)
        else:
            return True
    return False


@contextmanager
def only_process(path: Path, stopping: threading.Event) -> Iterator[bool]:
    """Wait until no other process holds the lock at ``path``; false where this one is told to stop before.

    A worker takes up the unfinished work that is kept under its id. When the supervisor is killed, the worker that it
    leaves behind may still be starting as the next one starts: it would take up that work and end with it, and the
    next one would not look for it again. The lock ends with its process, however that ends.
    """
    with path.open("w") as file:
        while not stopping.is_set():
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                stopping.wait(0.2)
            else:
                break
        yield not stopping.is_set()


def run_web(config: Config) -> None:
    """Serve the status page, and predictions where they are switched on, until told to stop.

    Raises:
        BundleError: predictions are switched on and there is no models folder.
    """
    # The receiver needs none of it; without, it starts sooner and in less memory.
    import uvicorn

    from dicom_node.web.app import create_app
    from dicom_node.web.server import Server

    stopping = _stop_event()  # until uvicorn minds the signals itself
    database = Database(config.database_url)
    database.wait_for_tables(stopping)
    log.info("status page: %s", config.web_url)
    tls = config.web.tls
    models = load_models(config, database) if config.web.predict else None
    if models is not None:
        from dicom_node.lifecycle.watcher import ModelWatcher

        ModelWatcher(config, database, models).start()
    app = create_app(config, database, models)
    _bound_cache(config)
    settings = uvicorn.Config(
        app,
        host=config.web.host,
        port=config.web.port,
        ssl_certfile=tls.certificate if tls else None,
        ssl_keyfile=tls.key if tls else None,
        log_config=None,
        access_log=False,
        server_header=False,
    )
    Server(settings, app.state.changes).run()
    database.close()


def load_models(config: Config, database: Database | None = None) -> Models:
    """The models of the models folder, loaded and warm; with a database, run as was decided of them.

    Raises:
        BundleError: there is no models folder.
    """
    # Takes seconds to import; only two processes need it.
    from dicom_node.inference.backends.choice import Backend
    from dicom_node.inference.models import Models
    from dicom_node.lifecycle.decisions import read_deployments

    deployments = {}
    if database is not None:
        with database.reading() as session:
            deployments = read_deployments(session, config.versions_folder)
    memory = config.worker.models_megabytes
    models = Models(
        config.node.models_folder,
        Backend.configured(config),
        config.node.bundle_digests,
        deployments,
        None if memory is None else memory << 20,
    )
    models.load()
    return models


def _bound_cache(config: Config) -> None:
    """Where the data folder is a cache, keep room in it; the thread ends with the process."""
    if (settings := config.store) is not None:
        Periodic("cache", _ROOM_EVERY_SECONDS, lambda: make_room(config, settings)).start()


def _stop_event() -> threading.Event:
    stopping = stop_event()
    end_with_parent()
    return stopping
