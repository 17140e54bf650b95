"""Who may connect and open an association: decided from the settings and what is open, without I/O."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection
from dataclasses import dataclass

from dicom_node.config import Config
from dicom_node.domain import Association
from dicom_node.receive.refusal import Reason

_PERMANENT, _TRANSIENT = 1, 2
_USER, _PRESENTATION_PROVIDER = 1, 3
_CONNECTIONS_FOR_AN_ASSOCIATION = 2
"""Connections that have not yet asked for an association are bounded too, but loosely."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why an association is rejected, and what the A-ASSOCIATE-RJ PDU says of it (PS3.8 9.3.4)."""

    reason: Reason
    text: str
    result: int
    source: int
    diagnostic: int


def admit(
    caller: Association, others: Collection[Association], config: Config, resolve: Callable[[str], set[str]]
) -> Rejection | None:
    """Whether an association may be opened beside the ``others`` that are open; None if it may.

    Args:
        caller: who asks.
        others: the open associations of this process.
        config: the settings.
        resolve: the addresses of a peer's host; none where it is unknown.
    """
    settings = config.receive
    if caller.called_ae_title != config.node.ae_title:
        text = "it called an AE title that is not the node's"
        return Rejection(Reason.WRONG_CALLED_AE_TITLE, text, _PERMANENT, _USER, 7)
    if settings.senders != "any":
        listed = [peer for peer in config.peers if peer.sends and peer.ae_title == caller.calling_ae_title]
        if not listed:
            text = "its calling AE title is not listed as a sender"
            return Rejection(Reason.UNLISTED_SENDER, text, _PERMANENT, _USER, 3)
        if settings.senders == "listed-hosts" and not any(caller.address in resolve(peer.host) for peer in listed):
            text = f"its address {caller.address} is not that of the listed sender"
            return Rejection(Reason.WRONG_HOST, text, _PERMANENT, _USER, 3)
    if len(others) >= settings.maximum_associations:
        text = "too many associations are open (receive.maximum_associations)"
        return Rejection(Reason.TOO_MANY_ASSOCIATIONS, text, _TRANSIENT, _PRESENTATION_PROVIDER, 2)
    of_caller = sum(_same_peer(other, caller) for other in others)
    if of_caller >= settings.maximum_associations_per_peer:
        text = "too many of its associations are open (receive.maximum_associations_per_peer)"
        return Rejection(Reason.TOO_MANY_OF_ONE_PEER, text, _TRANSIENT, _PRESENTATION_PROVIDER, 2)
    return None


def admit_connection(address: str, connections: int, config: Config) -> tuple[Reason, str] | None:
    """Whether a connection may be taken beside ``connections`` others, before a byte is read; else why not."""
    networks = config.receive.networks
    if networks and not any(ipaddress.ip_address(address) in network for network in networks):
        return Reason.FOREIGN_ADDRESS, "connection closed: its address is in none of receive.networks"
    if connections >= _CONNECTIONS_FOR_AN_ASSOCIATION * config.receive.maximum_associations:
        return Reason.TOO_MANY_ASSOCIATIONS, "connection closed: too many are open (receive.maximum_associations)"
    return None


def _same_peer(one: Association, other: Association) -> bool:
    return (one.calling_ae_title, one.address) == (other.calling_ae_title, other.address)
