"""``dicom-node fetch``: get a study from a PACS that did not send it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.config import Config, Peer
from dicom_node.console import ConfigOption, console, fail, read_config

if TYPE_CHECKING:
    from pathlib import Path

    from dicom_node.domain import Association
    from dicom_node.fetch.retrieve import Fetched, Retriever


def fetch(
    study: Annotated[str, typer.Option("--study", metavar="UID", help="Study Instance UID.")],
    source: Annotated[str, typer.Option("--from", metavar="AET", help="A configured peer: its AE title or name.")],
    by_get: Annotated[
        bool, typer.Option("--get", help="Receive it here (C-GET), for a PACS that does not know this node.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Ask a peer for a study (C-FIND), and for its images by C-MOVE to this node's receiver, which must run."""
    from dicom_node.fetch.query import study_query
    from dicom_node.fetch.retrieve import FetchError, Retriever

    if not re.fullmatch(r"[0-9.]{1,64}", study):
        raise fail(f"{study!r} is no Study Instance UID")
    settings = read_config(config)
    peer = _peer(settings, source)
    retriever = Retriever(settings.node.ae_title, settings.deliver.timeout_seconds)
    try:
        if not retriever.find(peer, study_query({"StudyInstanceUID": study})):
            raise fail(f"{peer.ae_title} has no study {study}")
        fetched = _get(settings, retriever, peer, study) if by_get else retriever.move(peer, study)
    except FetchError as error:
        raise fail(f"{error}.") from error
    console.print(f"{fetched.completed} images of {study} came from {peer.ae_title}", highlight=False)
    if fetched.failed or not fetched.completed:
        raise fail(f"{fetched.failed} images did not come: see the receiver's log, and that of {peer.ae_title}.")


def _get(settings: Config, retriever: Retriever, peer: Peer, study: str) -> Fetched:
    from dicom_node.archive.archive import open_archive
    from dicom_node.audit.trail import AuditTrail
    from dicom_node.audit.transfers import Transfers
    from dicom_node.database import Database

    database = Database(settings.database_url)
    transfers = Transfers(AuditTrail.configured(settings), settings.node.ae_title)
    in_order = False
    try:
        database.create_tables()
        archive = open_archive(settings, database)

        def keep(path: Path, association: Association) -> None:
            transfers.received(study, peer.ae_title, peer.host, archive.accept(path, association))

        fetched = retriever.get(peer, study, settings.incoming_folder, keep)
        in_order = not fetched.failed
        return fetched
    finally:
        transfers.ended(study, in_order=in_order)
        transfers.close()
        database.close()


def _peer(settings: Config, source: str) -> Peer:
    for peer in settings.peers:
        if source in (peer.name, peer.ae_title) and peer.dicomweb is None:
            return peer
    known = ", ".join(peer.ae_title for peer in settings.peers if peer.dicomweb is None) or "none"
    raise fail(f"no DICOM peer {source!r} in the configuration; there: {known}")
