"""``dicom-node check``: what is wrong with an installation, and what to change."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from dicom_node.bucket import Bucket
from dicom_node.cached_files import InBucket
from dicom_node.config import Config, ConfigurationError, StoreSection
from dicom_node.database import Database
from dicom_node.deliver.sender import Sender
from dicom_node.deliver.stow import StowSender
from dicom_node.disk import disk_space
from dicom_node.inference.backends.choice import Backend
from dicom_node.inference.definition import BundleError
from dicom_node.inference.discovery import check_bundle
from dicom_node.inference.models import Models
from dicom_node.inference.pinning import bundle_digest
from dicom_node.migrations import NewerDatabase
from dicom_node.tls import receiver_context


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One thing checked; ``passed`` is None for a remark that is no fault."""

    subject: str
    passed: bool | None
    text: str


def check_node(config: Config) -> Iterator[CheckResult]:
    """Check everything that a node needs, one result at a time. A configuration that could be loaded is sound."""
    yield from _configuration(config)
    yield _store(config)
    if config.store is not None:
        yield _bucket(config, config.store)
    yield _database(config)
    yield from _models(config)
    yield from _peers(config)


def _configuration(config: Config) -> Iterator[CheckResult]:
    yield CheckResult("configuration", True, f"AE title {config.node.ae_title}, {config.receive.ports_in_words}")
    if config.receive.tls is not None:
        try:
            receiver_context(config.receive.tls)
        except ConfigurationError as error:
            yield CheckResult("configuration", False, str(error))
    if config.receive.senders == "any":
        yield CheckResult(
            "configuration", None, "anybody may send: list the senders as peers and set receive.senders to 'listed'"
        )
    if not config.destinations:
        yield CheckResult(
            "configuration", None, "nobody receives results: give at least one peer 'receives_results: true'"
        )


def _store(config: Config) -> CheckResult:
    folder = config.node.data_folder.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 4096)
            os.fsync(file.fileno())
    except OSError as error:
        return CheckResult(
            "store", False, f"{folder} cannot be written ({error.strerror}): change node.data_folder or its permissions"
        )
    disk = disk_space(config)
    if disk.is_short:
        return CheckResult(
            "store",
            False,
            f"{disk.free_megabytes} MB free in {folder}, {disk.needed_megabytes} MB needed "
            "(receive.minimum_free_megabytes and receive.maximum_disk_percent): everything sent would be refused; "
            "make room",
        )
    return CheckResult("store", True, f"{folder}, {disk.free_megabytes} MB free")


def _bucket(config: Config, settings: StoreSection) -> CheckResult:
    keys = "store.url, store.endpoint_url, store.key and store.secret_file"
    try:
        bucket = Bucket(settings)
        with tempfile.TemporaryDirectory() as folder:
            probe, back = Path(folder, "probe"), Path(folder, "back")
            probe.write_bytes(os.urandom(4096))
            key = f"probe/{secrets.token_hex(8)}"
            bucket.put(probe, key)
            bucket.get(key, back)
            bucket.remove(key)
            if back.read_bytes() != probe.read_bytes():
                return CheckResult("bucket", False, f"{settings.url} gives back other bytes than were put there")
        if (owner := InBucket(config, settings).belongs_to_another()) is not None:
            return CheckResult(
                "bucket", False, f"{settings.url} is in use by {owner}: give each node a bucket or a prefix of its own"
            )
    except ConfigurationError as error:
        return CheckResult("bucket", False, str(error))
    except OSError as error:
        return CheckResult("bucket", False, f"{settings.url}: {error.strerror}: check {keys}")
    if config.database_url.startswith("sqlite"):
        text = "with SQLite all processes must run on this host: for more hosts set node.database_url to PostgreSQL"
        return CheckResult("bucket", None, f"{settings.url} can be written, read and cleared; {text}")
    return CheckResult("bucket", True, f"{settings.url} can be written, read and cleared")


def _database(config: Config) -> CheckResult:
    shown = sa.make_url(config.database_url).render_as_string(hide_password=True)
    try:
        database = Database(config.database_url)
        database.create_tables()
        database.close()
    except NewerDatabase as error:
        return CheckResult("database", False, f"{shown}: {error}")
    except (sa.exc.SQLAlchemyError, OSError, ModuleNotFoundError) as error:
        return CheckResult("database", False, f"{shown} does not work ({error}): check node.database_url")
    return CheckResult("database", True, shown)


def _models(config: Config) -> Iterator[CheckResult]:
    folder = config.node.models_folder.absolute()
    try:
        models = Models(folder, Backend.configured(config), config.node.bundle_digests)
    except BundleError as error:
        yield CheckResult("models", False, str(error))
        return
    if not models.manifests and not models.unavailable:
        yield CheckResult("models", False, f"{folder} holds no bundle: set node.models_folder")
        return
    models.load()
    for name, problem in sorted(models.unavailable.items()):
        yield CheckResult(f"model {name}", False, problem)
    for name, manifest in sorted(models.manifests.items()):
        if name in models.unavailable:
            continue
        for problem in check_bundle(folder / name):
            yield CheckResult(f"model {name}", False, problem)
        if not manifest.enabled:
            yield CheckResult(f"model {name}", None, "switched off in its node.yaml")
            continue
        bundle = models.reader(name).bundle
        gate = "with an input gate" if bundle.gate is not None else "no input gate: images of any kind are read"
        yield CheckResult(
            f"model {name}",
            True,
            f"version {bundle.version}, weights {bundle.identity.weights_digest[:12]}, in {bundle.network.place}, "
            f"{gate}, bundle {bundle_digest(folder / name)}{' (pinned)' if config.node.bundle_digests else ''}",
        )


def _peers(config: Config) -> Iterator[CheckResult]:
    timeout = min(config.deliver.timeout_seconds, 10.0)
    sender, web = Sender(config.node.ae_title, timeout), StowSender(timeout)
    for peer in config.peers:
        problem = sender.echo(peer) if peer.dicomweb is None else web.check(peer)
        where = f"{peer.ae_title} at {peer.host}:{peer.port} answered C-ECHO"
        text = problem or (where if peer.dicomweb is None else f"{peer.dicomweb.url} answered QIDO-RS")
        # A modality that only sends often answers nothing; that harms nobody.
        passed: bool | None = True if problem is None else (False if peer.receives_results else None)
        yield CheckResult(f"peer {peer.name}", passed, text)
