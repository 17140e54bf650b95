"""The process that analyses and delivers: the workflow engine, its queues, and whoever looks for work."""

from __future__ import annotations

import contextlib
import logging
import shutil
import sqlite3
import threading

import sqlalchemy as sa
from dbos import DBOS, DBOSConfig, Queue, SetEnqueueOptions, SetWorkflowID

from dicom_node.audit.trail import AuditTrail
from dicom_node.audit.transfers import Transfers
from dicom_node.cached_files import open_files
from dicom_node.commitment import CommitmentWorkflow
from dicom_node.config import Config
from dicom_node.database import Database
from dicom_node.history import forget_workflows
from dicom_node.inference.models import Models
from dicom_node.liveness import Liveness
from dicom_node.pulling import FetchWorkflow
from dicom_node.results import structured_report
from dicom_node.retention import Retention
from dicom_node.retraining import RETRAIN_QUEUE, RetrainingWorkflow
from dicom_node.shadowing import SHADOW_QUEUE
from dicom_node.studies import analyses
from dicom_node.study_watcher import StudyWatcher
from dicom_node.workflow import (
    ANALYSE_QUEUE,
    CONCURRENT_DELIVERIES,
    DELIVER_QUEUE,
    FETCH_QUEUE,
    SCHEMA_VERSION,
    StudyWorkflow,
)

log = logging.getLogger(__name__)

_ANALYSE_POLL_SECONDS = {False: 0.05, True: 0.2}
_DELIVER_POLL_SECONDS = 0.5
"""A poll of an empty queue costs 3 ms of a processor. Where the database is shared by many workers (True), each asks
less often: theirs add up."""
_BACKGROUND_POLL_SECONDS = 1.0


class Worker:
    """The process that holds the models: workflow engine, models and watcher, started and stopped together."""

    def __init__(self, config: Config, database: Database, models: Models) -> None:
        self._config = config
        self._database = database
        self._models = models
        DBOS(config=_engine_config(config))
        self._stopping = threading.Event()
        self._transfers = Transfers(AuditTrail.configured(config), config.node.ae_title)
        files = open_files(config)
        self._workflow = StudyWorkflow(config, database, files, self._models, self._transfers, self._stopping)
        self._commitments = CommitmentWorkflow(config, database, files, self._workflow.send_again, self._stopping)
        self._fetches = FetchWorkflow(config, database, self._stopping)
        self._retraining = RetrainingWorkflow(config, database, self._stopping)
        self._watcher = StudyWatcher(
            config,
            database,
            files,
            self._begin,
            self._commitments,
            self._fetches,
            self._retraining,
            lambda: self._liveness.alive,
        )
        self._retention = Retention(config, database, files, forget_workflows)
        self._liveness = Liveness(
            database,
            config.worker.id,
            self._take_over,
            config.worker_lock_path,
            lambda: models.trouble,
            lambda: models.gpus,
        )
        self._analyse_queue: Queue | None = None

    def start(self) -> None:
        """Take up what an earlier process left unfinished, and begin to look for work.

        Raises:
            WorkerIdTaken: a worker on another host has this one's id.
        """
        self._liveness.claim()
        shutil.rmtree(self._config.writing_folder, ignore_errors=True)  # half a file, if that process was killed
        self._config.writing_folder.mkdir(parents=True)
        structured_report.warm_up()
        _keep_write_ahead_log(self._config.workflow_database_url)
        DBOS.launch()
        self._workflow.deliver_queue = DBOS.register_queue(
            DELIVER_QUEUE, worker_concurrency=CONCURRENT_DELIVERIES, polling_interval_sec=_DELIVER_POLL_SECONDS
        )
        self._commitments.queue = self._workflow.deliver_queue
        self._fetches.queue = DBOS.register_queue(FETCH_QUEUE, worker_concurrency=1)
        self._retraining.queue = DBOS.register_queue(
            RETRAIN_QUEUE, concurrency=1, polling_interval_sec=_BACKGROUND_POLL_SECONDS
        )
        self._workflow.shadows.queue = DBOS.register_queue(
            SHADOW_QUEUE, worker_concurrency=1, polling_interval_sec=_BACKGROUND_POLL_SECONDS
        )
        self._analyse_queue = DBOS.register_queue(
            ANALYSE_QUEUE,
            worker_concurrency=self._config.worker.concurrent_studies,
            polling_interval_sec=_ANALYSE_POLL_SECONDS[self._database.is_shared],
        )
        self._liveness.start()
        self._watcher.start()
        self._retention.start()
        log.info("worker %s is ready with %s", self._config.worker.id, ", ".join(self._models.manifests) or "no models")

    def stop(self) -> None:
        """Stop taking up work; what is under way is taken up again at the next start."""
        self._stopping.set()
        self._watcher.stop()
        self._retention.stop()
        self._workflow.isolation.forgive()
        DBOS.destroy()
        self._transfers.close()
        self._liveness.stop()

    def _take_over(self, worker_id: str) -> int:
        """Put what another worker left unfinished back into the queues, for all who are alive; how many workflows.

        Its half-written files are left to its own next start: it may only have been asleep, and be writing them.
        """
        return len(DBOS._recover_pending_workflows([worker_id]))

    def _begin(self, study_instance_uid: str, digest: str, last_instance_id: int, priority: int) -> None:
        if self._analyse_queue is None:
            raise RuntimeError("the analysis queue is registered when the worker starts")
        name = analyses.analysis_id(study_instance_uid, digest)
        with SetWorkflowID(name), SetEnqueueOptions(priority=priority):
            self._analyse_queue.enqueue(self._workflow.analyse, study_instance_uid, digest, last_instance_id)


def _keep_write_ahead_log(url: str) -> None:
    """Let the engine's readers and writers on SQLite not wait for one another; the file remembers it."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        with contextlib.closing(sqlite3.connect(parsed.database or "")) as connection:
            connection.execute("PRAGMA journal_mode=WAL")


def _engine_config(config: Config) -> DBOSConfig:
    config.node.data_folder.mkdir(parents=True, exist_ok=True)
    return DBOSConfig(
        name="dicom-node",
        system_database_url=config.workflow_database_url,
        application_version=SCHEMA_VERSION,
        executor_id=config.worker.id,
        log_level="WARNING",
    )
