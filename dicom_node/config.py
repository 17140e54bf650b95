"""The node's configuration: ``node.yaml``, checked by pydantic, overridden by ``DICOM_NODE_…`` variables."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import sqlalchemy as sa
import yaml
from croniter import croniter
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FilePath,
    IPvAnyNetwork,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError
from pydicom.datadict import tag_for_keyword

from dicom_node.domain import ResultKind, Role
from dicom_node.manifest import Condition

CONFIG_VARIABLE = "DICOM_NODE_CONFIG"
DEFAULT_CONFIG_PATH = Path("config/node.yaml")

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(ge=0, le=7 * 24 * 3600)]


_SYSLOG_ADDRESS = r"^((udp|tls)://([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(:\d{1,5})?|unix:/.+)$"


class ConfigurationError(Exception):
    """The configuration is wrong; the text names each key and what is allowed there."""


def _ae_title(value: str) -> str:
    """An AE title as PS3.5 6.2 (VR AE) has it: 1 to 16 printable characters, no backslash."""
    if not re.fullmatch(r"[\x20-\x5b\x5d-\x7e]{1,16}", value) or not value.strip():
        raise ValueError("an AE title has 1 to 16 printable ASCII characters and no backslash")
    return value.strip()


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PeerTls(_Section):
    """How a peer is called with TLS: whom to trust, and the node's own certificate where the peer asks for one."""

    authorities: FilePath
    certificate: FilePath | None = None
    key: FilePath | None = None
    check_host: bool = True

    @model_validator(mode="after")
    def _key_of_the_certificate(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together: give both, or neither")
        return self


class PeerDicomweb(_Section):
    """A DICOMweb server (STOW-RS and QIDO-RS) under ``url``, and who the node is there: a bearer token or a password.

    An https address is trusted by the peer's ``tls`` section, else by the authorities of the system.
    """

    url: Annotated[str, Field(pattern=r"^https?://[^/?#@]+[^?#]*$")]
    token_file: FilePath | None = None
    user: str | None = None
    password_file: FilePath | None = None

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file belong together: give both, or neither")
        if self.token_file is not None and self.user is not None:
            raise ValueError("give token_file, or user and password_file, not both")
        return self


class ReceiverTls(_Section):
    """How the receiver is called with TLS; with ``authorities``, callers must show a certificate that these signed."""

    port: Port = 2762
    certificate: FilePath
    key: FilePath
    authorities: FilePath | None = None


class Peer(_Section):
    """Another DICOM application: who may send to the node, and who gets its results."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    ae_title: str
    host: str
    port: Port
    tls: PeerTls | None = None
    dicomweb: PeerDicomweb | None = None
    sends: bool = False
    urgent: bool = False
    receives_results: bool = False
    results: Annotated[tuple[ResultKind, ...], Field(min_length=1)] = (
        ResultKind.STRUCTURED_REPORT,
        ResultKind.SECONDARY_CAPTURE,
    )
    storage_commitment: bool = False
    notices: tuple[Literal[ResultKind.STRUCTURED_REPORT, ResultKind.SECONDARY_CAPTURE], ...] = ()
    series_numbers: dict[ResultKind, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    series_descriptions: dict[ResultKind, str] = Field(default_factory=dict)

    _check_ae_title = field_validator("ae_title")(_ae_title)

    @model_validator(mode="before")
    @classmethod
    def _named_by_its_address(cls, values: Any) -> Any:
        """A DICOMweb server has no AE title and no DICOM port; where they are not given its URL stands for them."""
        web = values.get("dicomweb") if isinstance(values, dict) else None
        url = web.get("url") if isinstance(web, dict) else getattr(web, "url", None)
        if not isinstance(url, str):
            return values
        try:
            parts = urlsplit(url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            return values
        return {"ae_title": "DICOMWEB", "host": parts.hostname or "", "port": port} | values

    @model_validator(mode="after")
    def _dicomweb_has_no_commitment(self) -> Self:
        if self.dicomweb is not None and self.storage_commitment:
            raise ValueError("a peer with a dicomweb section is asked by QIDO-RS, not for storage_commitment")
        return self

    @field_validator("series_descriptions")
    @classmethod
    def _known_fields(cls, templates: dict[ResultKind, str]) -> dict[ResultKind, str]:
        for template in templates.values():
            try:
                template.format(result="", title="", model="", version="")
            except (KeyError, IndexError, ValueError):
                raise ValueError(
                    f"{template!r} may only use {{result}}, {{title}}, {{model}} and {{version}}"
                ) from None
        return templates


class NodeSection(_Section):
    """Who the node is and where it keeps things."""

    ae_title: str = "DICOMNODE"
    data_folder: Path = Path("data")
    models_folder: Path = Path("models")
    bundle_digests: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = Field(default_factory=dict)
    database_url: str | None = None
    database_password_file: Path | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["auto", "text", "json"] = "auto"

    _check_ae_title = field_validator("ae_title")(_ae_title)


class StoreSection(_Section):
    """A bucket that holds instances and results, of which the data folder is then a cache; named as s3fs does.

    Without ``key`` the way in is AWS's own: its variables, its configuration files, the machine's role.
    """

    url: Annotated[str, Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._-]+)*/?$")]
    endpoint_url: Annotated[str, Field(pattern=r"^https?://[^/?#@]+/?$")] | None = None
    region_name: str | None = None
    key: str | None = None
    secret_file: FilePath | None = None
    authorities: FilePath | None = None
    timeout_seconds: Annotated[float, Field(gt=0)] = 15.0
    cache_hours: Annotated[float, Field(ge=0, le=3650 * 24)] = 24.0

    @model_validator(mode="after")
    def _secret_of_the_key(self) -> Self:
        if (self.key is None) != (self.secret_file is None):
            raise ValueError("key and secret_file belong together: give both, or neither")
        return self


class ReceiveSection(_Section):
    """The DICOM receiver."""

    host: str = "0.0.0.0"  # noqa: S104 - a DICOM receiver exists to be reached from the network
    port: Port = 11112
    plain: bool = True
    tls: ReceiverTls | None = None
    senders: Literal["any", "listed", "listed-hosts"] = "any"
    networks: tuple[IPvAnyNetwork, ...] = ()
    maximum_associations: Annotated[int, Field(ge=1, le=1000)] = 50
    maximum_associations_per_peer: Annotated[int, Field(ge=1, le=1000)] = 20
    maximum_pdu_size: Annotated[int, Field(ge=4096, le=1 << 20)] = 131072
    maximum_object_megabytes: Annotated[int, Field(ge=1)] = 8192
    request_timeout_seconds: Annotated[float, Field(gt=0)] = 30.0
    network_timeout_seconds: Annotated[float, Field(gt=0)] = 60.0
    processes: Annotated[int, Field(ge=1, le=64)] = 1
    minimum_free_megabytes: Annotated[int, Field(ge=0)] = 2048
    maximum_disk_percent: Annotated[int, Field(ge=1, le=100)] = 90

    @model_validator(mode="after")
    def _listens_somewhere(self) -> Self:
        if not self.plain and self.tls is None:
            raise ValueError("plain is false and tls is not set: nobody could send")
        if self.plain and self.tls is not None and self.tls.port == self.port:
            raise ValueError("port and tls.port must differ, or plain be false")
        return self

    @property
    def ports_in_words(self) -> str:
        """Where the node is called: "DICOM port 11112, DICOM with TLS port 2762"."""
        plain = [f"DICOM port {self.port}"] if self.plain else []
        return ", ".join(plain + ([f"DICOM with TLS port {self.tls.port}"] if self.tls else []))


class CompletenessSection(_Section):
    """When a study counts as complete."""

    quiet_seconds: dict[str, Seconds] = Field(default_factory=lambda: {"CR": 10.0, "DX": 10.0, "CT": 30.0})
    default_quiet_seconds: Seconds = 30.0
    maximum_wait_seconds: Annotated[float, Field(gt=0)] = 900.0


class WorkerSection(_Section):
    """The process that holds the models."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = "worker-1"
    backend: Literal["auto", "torch", "openvino", "onnxruntime"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    models_megabytes: Annotated[int | None, Field(gt=0)] = None
    concurrent_studies: Annotated[int, Field(ge=1, le=64)] = 2
    urgent: tuple[Condition, ...] = (
        Condition(attribute="RequestedProcedurePriority", in_=("STAT", "HIGH")),
        Condition(attribute="StudyPriorityID", in_=("STAT", "HIGH")),
    )
    series_limit_seconds: Annotated[float, Field(gt=0)] = 900.0
    maximum_series_megabytes: Annotated[int, Field(ge=1)] = 4096

    @model_validator(mode="after")
    def _device_fits(self) -> Self:
        if self.device == "cuda" and self.backend in ("openvino", "onnxruntime"):
            raise ValueError(f"backend {self.backend} runs on the CPU; for CUDA set backend to auto or torch")
        return self


class DeliverSection(_Section):
    """How results are sent, and how often that is tried."""

    first_retry_seconds: Annotated[float, Field(gt=0)] = 5.0
    maximum_retry_seconds: Annotated[float, Field(gt=0)] = 600.0
    timeout_seconds: Annotated[float, Field(gt=0)] = 30.0
    commitment_timeout_seconds: Annotated[float, Field(gt=0)] = 3600.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.maximum_retry_seconds < self.first_retry_seconds:
            raise ValueError("maximum_retry_seconds must not be below first_retry_seconds")
        return self


class WebTls(_Section):
    """The certificate (with its chain) and private key that the status page is served under, as PEM files."""

    certificate: FilePath
    key: FilePath


class RetentionSection(_Section):
    """How long the node keeps what it no longer needs."""

    study_days: Annotated[float, Field(ge=0, le=3650)] = 7.0
    refusal_days: Annotated[float, Field(gt=0, le=3650)] = 30.0


class FetchRule(_Section):
    """Studies that a peer is asked for at certain times, since it does not send them by itself.

    ``at`` is a cron expression of five fields, in the machine's local time; ``matching`` are further keys of C-FIND.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    from_: Annotated[str, Field(alias="from")]
    at: str
    days_ago: Annotated[int, Field(ge=0, le=30)] = 1
    modalities: tuple[Annotated[str, Field(pattern=r"^[A-Z]{2,16}$")], ...] = ()
    matching: dict[str, str] = Field(default_factory=dict)

    @field_validator("at")
    @classmethod
    def _cron(cls, value: str) -> str:
        if len(value.split()) != 5 or not croniter.is_valid(value):
            raise ValueError(f"{value!r} is no cron expression of five fields, such as '0 5 * * *'")
        return value

    @field_validator("matching")
    @classmethod
    def _keys_of_a_study(cls, value: dict[str, str]) -> dict[str, str]:
        if unknown := sorted(keyword for keyword in value if tag_for_keyword(keyword) is None):
            raise ValueError(f"no DICOM keyword: {', '.join(unknown)}")
        return value


class OidcSection(_Section):
    """Single sign-on by OpenID Connect: who vouches for people, and which of its claims give which role."""

    issuer: str
    client_id: Annotated[str, Field(min_length=1)]
    client_secret_file: FilePath | None = None
    label: Annotated[str, Field(min_length=1, max_length=60)] = "your organisation"
    scopes: tuple[str, ...] = ("openid", "profile")
    name_claim: str = "preferred_username"
    role_claim: str = "groups"
    roles: dict[str, Role] = Field(default_factory=dict)
    default_role: Role | None = None
    authorities: FilePath | None = None

    @model_validator(mode="after")
    def _lets_somebody_in_safely(self) -> Self:
        parts = urlsplit(self.issuer)
        local = parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")
        if not parts.hostname or not (parts.scheme == "https" or local):
            raise ValueError("issuer must be an https address: logins travel there")
        if "openid" not in self.scopes:
            raise ValueError("scopes must hold 'openid'")
        if not self.roles and self.default_role is None:
            raise ValueError("nobody would have a role: give roles (values of role_claim), or a default_role")
        return self


class WebSection(_Section):
    """The status page."""

    host: str = "127.0.0.1"
    port: Port = 8080
    predict: bool = False
    stow: bool = False
    maximum_stow_requests: Annotated[int, Field(ge=1, le=100)] = 8
    tls: WebTls | None = None
    oidc: OidcSection | None = None
    session_hours: Annotated[float, Field(gt=0, le=7 * 24)] = 12.0
    maximum_request_megabytes: Annotated[int, Field(ge=1, le=4096)] = 64


class AuditSection(_Section):
    """Where audit messages go beside the files in the data folder."""

    syslog: Annotated[str, Field(pattern=_SYSLOG_ADDRESS)] | None = None
    syslog_tls: PeerTls | None = None

    @model_validator(mode="after")
    def _tls_knows_whom_to_trust(self) -> Self:
        if (self.syslog or "").startswith("tls:") and self.syslog_tls is None:
            raise ValueError("syslog over TLS needs syslog_tls.authorities: whom to trust")
        return self


class Config(BaseSettings):
    """The whole configuration. Environment variables win over the file: ``DICOM_NODE_RECEIVE__PORT=104``."""

    model_config = SettingsConfigDict(
        env_prefix="DICOM_NODE_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    node: NodeSection = NodeSection()
    store: StoreSection | None = None
    receive: ReceiveSection = ReceiveSection()
    completeness: CompletenessSection = CompletenessSection()
    worker: WorkerSection = WorkerSection()
    deliver: DeliverSection = DeliverSection()
    retention: RetentionSection = RetentionSection()
    web: WebSection = WebSection()
    audit: AuditSection = AuditSection()
    fetch: tuple[FetchRule, ...] = ()
    peers: tuple[Peer, ...] = ()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file, whose content arrives as init arguments."""
        return env_settings, init_settings

    @model_validator(mode="after")
    def _peer_names_differ(self) -> Self:
        names = [peer.name for peer in self.peers]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"peer names must differ; repeated: {', '.join(repeated)}")
        if self.receive.senders != "any" and not any(peer.sends for peer in self.peers):
            mode = self.receive.senders
            raise ValueError(f"receive.senders is '{mode}' but no peer has 'sends: true': nobody could send")
        return self

    @model_validator(mode="after")
    def _fetched_from_peers(self) -> Self:
        names = [rule.name for rule in self.fetch]
        if len(set(names)) < len(names):
            raise ValueError("names of fetch rules must differ")
        known = {peer.name for peer in self.peers if peer.dicomweb is None}
        for rule in self.fetch:
            if rule.from_ not in known:
                raise ValueError(f"fetch rule {rule.name} names {rule.from_!r}, which is no DICOM peer")
        return self

    @model_validator(mode="after")
    def _password_can_be_read(self) -> Self:
        file = self.node.database_password_file
        if file is not None:
            try:
                file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"node.database_password_file {file} cannot be read: {error}") from None
        return self

    @property
    def destinations(self) -> tuple[Peer, ...]:
        """The peers that receive results."""
        return tuple(peer for peer in self.peers if peer.receives_results)

    @property
    def instances_folder(self) -> Path:
        """Where received instances lie."""
        return self.node.data_folder.absolute() / "instances"

    @property
    def incoming_folder(self) -> Path:
        """Where instances lie while they arrive; on the same file system as the instances."""
        return self.node.data_folder.absolute() / "incoming"

    @property
    def removing_folder(self) -> Path:
        """Where the files of a study lie while it is removed; on the same file system as the instances."""
        return self.node.data_folder.absolute() / "removing"

    @property
    def results_folder(self) -> Path:
        """Where the node's own objects lie."""
        return self.node.data_folder.absolute() / "results"

    @property
    def versions_folder(self) -> Path:
        """Where versions of models lie that were trained here: a folder a version, by its number."""
        return self.node.data_folder.absolute() / "versions"

    @property
    def labelled_folder(self) -> Path:
        """Where labelled images lie that were uploaded to train on."""
        return self.node.data_folder.absolute() / "labelled"

    @property
    def audit_folder(self) -> Path:
        """Where the audit trail lies: a file a day."""
        return self.node.data_folder.absolute() / "audit"

    @property
    def secret_path(self) -> Path:
        """The file of the node's own secret, shared by the node's processes."""
        return self.node.data_folder.absolute() / "secret.key"

    @property
    def first_password_path(self) -> Path:
        """Where the first administrator's password lies until the first login, when nobody could be shown it."""
        return self.node.data_folder.absolute() / "first-password"

    @property
    def web_url(self) -> str:
        """The address of the status page."""
        host = f"[{self.web.host}]" if ":" in self.web.host else self.web.host
        return f"{'https' if self.web.tls else 'http'}://{host}:{self.web.port}/"

    @property
    def worker_lock_path(self) -> Path:
        """Held by the worker of this id on this host, and touched every few seconds while it lives."""
        return self.node.data_folder.absolute() / f"{self.worker.id}.lock"

    @property
    def writing_folder(self) -> Path:
        """Where this worker's objects lie until they are whole; no other worker writes there."""
        return self.results_folder / ".writing" / self.worker.id

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of the domain tables; SQLite in the data folder unless configured."""
        return self._server_url or f"sqlite:///{self.node.data_folder.absolute() / 'node.sqlite'}"

    @property
    def workflow_database_url(self) -> str:
        """URL of the workflow engine's tables: a file of its own on SQLite, else the same database."""
        return self._server_url or f"sqlite:///{self.node.data_folder.absolute() / 'workflow.sqlite'}"

    @property
    def _server_url(self) -> str | None:
        if self.node.database_url is None or self.node.database_password_file is None:
            return self.node.database_url
        password = self.node.database_password_file.read_text(encoding="utf-8").strip()
        return sa.make_url(self.node.database_url).set(password=password).render_as_string(hide_password=False)


def config_path(explicit: Path | None) -> Path | None:
    """The configuration file in use: the one named, the one in the environment, ``config/node.yaml``, or none."""
    if explicit is not None:
        return explicit
    if named := os.environ.get(CONFIG_VARIABLE):
        return Path(named)
    return DEFAULT_CONFIG_PATH if DEFAULT_CONFIG_PATH.is_file() else None


def load_config(path: Path | None = None) -> Config:
    """Read, override and check the configuration.

    Raises:
        ConfigurationError: the file cannot be read, or a key is unknown or wrong.
    """
    source = config_path(path)
    raw: Any = {}
    if source is not None:
        try:
            raw = yaml.safe_load(source.read_text(encoding="utf-8")) or {}
        except OSError as error:
            raise ConfigurationError(f"{source}: cannot be read: {error.strerror}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{source}: not valid YAML: {error}") from error
        if not isinstance(raw, dict):
            raise ConfigurationError(f"{source}: must hold sections such as 'node:' and 'receive:'")
    try:
        return Config(**raw)
    except (ValidationError, SettingsError) as error:
        raise ConfigurationError(_explain(error, source)) from error


def _explain(error: ValidationError | SettingsError, source: Path | None) -> str:
    heading = f"{source or 'configuration'} (and DICOM_NODE_… variables):"
    if isinstance(error, SettingsError):
        return f"{heading}\n  {error}"
    lines = [heading]
    for problem in error.errors():
        location = problem["loc"]
        key = ".".join(str(part) for part in location) or "(whole file)"
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = f"unknown key; allowed here: {', '.join(_allowed_keys(location[:-1]))}"
        lines.append(f"  {key}: {message}")
    return "\n".join(lines)


def _allowed_keys(location: tuple[int | str, ...]) -> list[str]:
    """The keys allowed in the section at ``location``."""
    section: type[BaseModel] = Config
    for part in location:
        if part in ("peers", "fetch"):
            section = Peer if part == "peers" else FetchRule
        elif isinstance(part, str):
            annotation = section.model_fields[part].annotation
            if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
                return []
            section = annotation
    return sorted(section.model_fields)
