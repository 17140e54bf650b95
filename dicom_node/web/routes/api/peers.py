"""Peers in the API: what the configuration says of them."""

from __future__ import annotations

from fastapi import APIRouter

from dicom_node.config import Peer
from dicom_node.web.dependencies import CurrentConfig
from dicom_node.web.problems import PROBLEM_RESPONSES

router = APIRouter(prefix="/peers", tags=["peers"], responses=PROBLEM_RESPONSES)


@router.get("")
def read_peers(config: CurrentConfig) -> tuple[Peer, ...]:
    """The configured peers: who may send, and who gets results."""
    return config.peers
