"""Brings the loaded models in line with what has been decided, without a restart."""

from __future__ import annotations

import logging

from dicom_node.config import Config
from dicom_node.database import Database
from dicom_node.inference.models import Models
from dicom_node.lifecycle.decisions import read_deployments
from dicom_node.periodic import Periodic

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0


class ModelWatcher:
    """Looks at the decisions in a thread of its own, in every process that holds models; they load there too."""

    def __init__(self, config: Config, database: Database, models: Models) -> None:
        self._config = config
        self._database = database
        self._models = models
        self._thread = Periodic("model-watcher", _LOOK_SECONDS, self.look)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._thread.stop()

    def look(self) -> None:
        """Take up what has been decided since the last look."""
        with self._database.reading() as session:
            deployments = read_deployments(session, self._config.versions_folder)
        for name in self._models.deploy(deployments):
            log.info("model %s runs as was decided", name)
