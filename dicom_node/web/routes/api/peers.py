"""Peers in the API: what the configuration says of them, and whether they answer."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path

from dicom_node.config import Peer
from dicom_node.web.dependencies import CurrentConfig
from dicom_node.web.echo import Echo, UnknownPeer, echo
from dicom_node.web.problems import PROBLEM_RESPONSES

router = APIRouter(prefix="/peers", tags=["peers"], responses=PROBLEM_RESPONSES)


@router.get("")
def read_peers(config: CurrentConfig) -> tuple[Peer, ...]:
    """The configured peers: who may send, and who gets results."""
    return config.peers


@router.post("/{name}/echo")
def echo_peer(config: CurrentConfig, name: Annotated[str, Path(max_length=64)]) -> Echo:
    """Ask a peer whether it is there, as results would be sent to it; ``problem`` is null where it answers."""
    try:
        return echo(config, name)
    except UnknownPeer:
        raise HTTPException(HTTPStatus.NOT_FOUND, "No peer of this name is configured.") from None
