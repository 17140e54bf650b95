"""Whether a peer answers: a C-ECHO, or for a DICOMweb server a question that asks for nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass

from dicom_node.config import Config
from dicom_node.deliver.sender import Sender
from dicom_node.deliver.stow import StowSender

_PATIENCE_SECONDS = 10.0


class UnknownPeer(Exception):
    """No peer of this name is configured."""


@dataclass(frozen=True, slots=True)
class Echo:
    """How a peer answered; ``problem`` says what went wrong and what to check, None where nothing did."""

    peer: str
    problem: str | None
    seconds: float


def echo(config: Config, name: str) -> Echo:
    """Ask a configured peer whether it is there.

    Raises:
        UnknownPeer: there is no such peer.
    """
    peer = next((peer for peer in config.peers if peer.name == name), None)
    if peer is None:
        raise UnknownPeer(name)
    patience = min(config.deliver.timeout_seconds, _PATIENCE_SECONDS)
    begun = time.monotonic()
    if peer.dicomweb is not None:
        problem = StowSender(patience).check(peer)
    else:
        problem = Sender(config.node.ae_title, patience).echo(peer)
    return Echo(name, problem, round(time.monotonic() - begun, 3))
