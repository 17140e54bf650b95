"""Storage commitment as durable workflows: asking destinations to keep results, answering peers that ask the node."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import timedelta

from dbos import DBOS, DBOSConfiguredInstance, Queue, SetEnqueueOptions, SetWorkflowID

from dicom_node.config import Config
from dicom_node.database import Database, now
from dicom_node.deliver import commitment
from dicom_node.deliver.commitment import CommitmentTable
from dicom_node.deliver.outcome import retry_delay
from dicom_node.deliver.sender import Sender
from dicom_node.passing import patiently, taken_up_again
from dicom_node.stored_files import StoredFiles
from dicom_node.tables import CommitmentRequestRow

_ANSWER_FOR = timedelta(days=1)


@DBOS.dbos_class()
class CommitmentWorkflow(DBOSConfiguredInstance):
    """Looks for what is to be asked, answered and sent again, and carries it out."""

    def __init__(
        self,
        config: Config,
        database: Database,
        files: StoredFiles,
        send_again: Callable[[str, str, int], None],
        stopping: threading.Event,
    ) -> None:
        super().__init__("commitment")
        self.stopping = stopping
        self._config = config
        self._database = database
        self._files = files
        self._send_again = send_again
        self._destinations = {peer.name: peer for peer in config.destinations if peer.storage_commitment}
        self._peers = {peer.ae_title: peer for peer in config.peers}
        self._sender = Sender(config.node.ae_title, config.deliver.timeout_seconds)
        self.queue: Queue | None = None

    def look(self) -> None:
        """Begin what is due. Whatever is begun twice is done once, since workflows are named after what they do."""
        if self.queue is None:
            return
        with self._database.reading() as session:
            lost, requests = commitment.lost_deliveries(session), commitment.open_requests(session)
        for name, destination, attempt in lost:
            self._send_again(name, destination, attempt)
        for request_id in requests:
            self._enqueue_answer(request_id, 1, None)
        if not self._destinations:
            return
        patience = timedelta(seconds=self._config.deliver.commitment_timeout_seconds)
        with self._database.session.begin() as session:
            questions = commitment.open_questions(session, list(self._destinations), now(), patience)
        for question in questions:
            with SetWorkflowID(f"commit-{question.transaction_uid}"):
                self.queue.enqueue(self.ask, question.destination, question.transaction_uid, question.instances)

    @DBOS.workflow(max_recovery_attempts=None)
    @taken_up_again
    def ask(self, destination: str, transaction_uid: str, instances: tuple[tuple[str, str], ...]) -> None:
        """Ask a destination to commit what it has accepted; its report comes to the receiver, or at once."""
        self._ask(destination, transaction_uid, instances)

    @DBOS.step()
    @patiently
    def _ask(self, destination: str, transaction_uid: str, instances: tuple[tuple[str, str], ...]) -> None:
        peer = self._destinations.get(destination)
        if peer is None:
            return
        table = CommitmentTable(self._config, self._database)
        problem = self._sender.request_commitment(peer, transaction_uid, instances, table)
        if problem is not None:
            delay = self._config.deliver.maximum_retry_seconds
            with self._database.session.begin() as session:
                commitment.postpone(session, transaction_uid, problem, now() + timedelta(seconds=delay))

    @DBOS.workflow(max_recovery_attempts=None)
    @taken_up_again
    def answer(self, request_id: int, attempt: int) -> None:
        """One attempt to tell a peer what the node holds of what it asked; begins the next where that is needed."""
        delay = self._answer(request_id, attempt)
        if delay is not None:
            self._enqueue_answer(request_id, attempt + 1, delay)

    def _enqueue_answer(self, request_id: int, attempt: int, delay_seconds: float | None) -> None:
        if self.queue is None:
            raise RuntimeError("the queue is registered when the worker starts")
        with SetWorkflowID(f"answer-{request_id}-{attempt}"), SetEnqueueOptions(delay_seconds=delay_seconds):
            self.queue.enqueue(self.answer, request_id, attempt)

    @DBOS.step()
    @patiently
    def _answer(self, request_id: int, attempt: int) -> float | None:
        with self._database.reading() as session:
            answer = commitment.answer_for(session, request_id, self._config.instances_folder, self._files)
            received_at = session.get_one(CommitmentRequestRow, request_id).received_at
        peer = self._peers.get(answer.ae_title)
        problem = "the peer is no longer configured"
        if peer is not None:
            problem = self._sender.report_commitment(peer, answer) or ""
            if problem and now() - received_at < _ANSWER_FOR:
                return retry_delay(attempt, self._config.deliver, random.random())  # noqa: S311 - jitter
        with self._database.session.begin() as session:
            commitment.close_request(session, request_id, f"not answered: {problem}" if problem else answer.in_words)
        return None
