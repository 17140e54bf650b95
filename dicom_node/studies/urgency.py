"""Which studies are read before others: those of urgent senders, and those whose images say so."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom import Dataset

from dicom_node.config import Config
from dicom_node.studies.conditions import why_not


def urgent_because(config: Config, calling_ae_title: str, headers: Iterable[Dataset]) -> str | None:
    """Why a study is urgent, in words, or None where it waits its turn.

    Args:
        config: peers with ``urgent``, and ``worker.urgent``, conditions of which one has to hold.
        calling_ae_title: who sent the study.
        headers: one of each of the study's series.
    """
    sender = next((peer for peer in config.peers if peer.urgent and peer.ae_title == calling_ae_title), None)
    if sender is not None:
        return f"urgent, sent by {sender.name}"
    for header in headers:
        for condition in config.worker.urgent:
            if why_not(condition, header) is None:
                return "urgent by worker.urgent"
    return None
