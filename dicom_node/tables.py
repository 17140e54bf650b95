"""The domain tables: what was received, what was found, what was sent. Job state is the workflow engine's."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from dicom_node.domain import DeliveryState, Evaluation, ResultKind, Role, StudyState, VersionState


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """An aware UTC time stamp on every database (SQLite keeps no time zone)."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Store as UTC; a naive time is a programming error."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("time stamps must carry a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Give back aware UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Json(sa.types.TypeDecorator[Any]):
    """A JSON value kept as text."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        """Encode."""
        return None if value is None else json.dumps(value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:
        """Decode."""
        return None if value is None else json.loads(value)


def _enum(enum: type) -> sa.Enum:
    return sa.Enum(enum, native_enum=False, length=32, values_callable=lambda members: [m.value for m in members])


UID = sa.String(64)


class Base(DeclarativeBase):
    """Declarative base of the domain tables."""


class StudyRow(Base):
    """A study that sent at least one instance.

    ``last_received_at`` is when its newest instance was committed, ``waiting_since`` when the first instance
    not yet analysed arrived, ``released_at`` when a router said that it is complete. ``latest_analysis_id``
    is the analysis whose outcome ``state`` tells. ``removed_at`` is when its files were removed to make room; its
    instances then have no rows, since they are not held.
    """

    __tablename__ = "studies"
    __table_args__ = (
        sa.Index("studies_by_state", "state", "last_received_at"),
        sa.Index("studies_by_arrival", "last_received_at", "study_instance_uid"),
        sa.Index("studies_by_source", "calling_ae_title", "last_received_at", "study_instance_uid"),
        *(
            # Whatever the collation of a PostgreSQL database, the beginning of a value is to be found by the index.
            sa.Index(f"studies_by_{column}", column, postgresql_ops={column: "text_pattern_ops"})
            for column in ("accession_number", "patient_id", "patient_name")
        ),
    )

    study_instance_uid: Mapped[str] = mapped_column(UID, primary_key=True)
    state: Mapped[StudyState] = mapped_column(_enum(StudyState))
    reason: Mapped[str] = mapped_column(sa.Text, default="")
    patient_name: Mapped[str] = mapped_column(sa.Text, default="")
    patient_id: Mapped[str] = mapped_column(sa.Text, default="")
    accession_number: Mapped[str] = mapped_column(sa.Text, default="")
    study_date: Mapped[str] = mapped_column(sa.String(8), default="")
    study_description: Mapped[str] = mapped_column(sa.Text, default="")
    calling_ae_title: Mapped[str] = mapped_column(sa.String(16), default="")
    first_received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    waiting_since: Mapped[datetime | None] = mapped_column(UtcDateTime)
    released_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    state_changed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    latest_analysis_id: Mapped[str | None] = mapped_column(sa.String(128))
    removed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    series: Mapped[list[SeriesRow]] = relationship(back_populates="study", order_by="SeriesRow.series_number")
    analyses: Mapped[list[AnalysisRow]] = relationship(back_populates="study", order_by="AnalysisRow.created_at")


class SeriesRow(Base):
    """A series of a study."""

    __tablename__ = "series"
    __table_args__ = (sa.Index("series_by_modality", "modality", "study_instance_uid"),)

    series_instance_uid: Mapped[str] = mapped_column(UID, primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(sa.ForeignKey("studies.study_instance_uid"), index=True)
    modality: Mapped[str] = mapped_column(sa.String(16), default="")
    series_number: Mapped[int | None]
    series_description: Mapped[str] = mapped_column(sa.Text, default="")
    body_part_examined: Mapped[str] = mapped_column(sa.Text, default="")

    study: Mapped[StudyRow] = relationship(back_populates="series")
    instances: Mapped[list[InstanceRow]] = relationship(back_populates="series")


class InstanceRow(Base):
    """A stored SOP instance. ``id`` grows in the order of arrival; ``path`` is relative to the instance folder.

    ``analysable`` is false for what is never analysed whatever the models say: reports, segmentations,
    presentation states and the like, and objects made by a node of ours.
    """

    __tablename__ = "instances"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    sop_instance_uid: Mapped[str] = mapped_column(UID, unique=True)
    series_instance_uid: Mapped[str] = mapped_column(sa.ForeignKey("series.series_instance_uid"), index=True)
    study_instance_uid: Mapped[str] = mapped_column(sa.ForeignKey("studies.study_instance_uid"), index=True)
    sop_class_uid: Mapped[str] = mapped_column(UID)
    transfer_syntax_uid: Mapped[str] = mapped_column(UID)
    analysable: Mapped[bool]
    path: Mapped[str] = mapped_column(sa.Text)
    size_bytes: Mapped[int] = mapped_column(sa.BigInteger)
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)

    series: Mapped[SeriesRow] = relationship(back_populates="instances")


class AnalysisRow(Base):
    """One analysis: a study with a certain set of input instances (``input_digest``).

    ``interrupted`` counts how often a series of it began to be read and the worker did not live to see the end.
    ``asked_again_at`` is when somebody last asked for the same analysis once more; what is made then is still dated
    ``created_at``, since it is the same answer to the same question.
    """

    __tablename__ = "analyses"

    analysis_id: Mapped[str] = mapped_column(sa.String(128), primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(sa.ForeignKey("studies.study_instance_uid"), index=True)
    input_digest: Mapped[str] = mapped_column(sa.String(64))
    last_instance_id: Mapped[int]
    last_image_at: Mapped[datetime] = mapped_column(UtcDateTime)
    state: Mapped[StudyState] = mapped_column(_enum(StudyState))
    reason: Mapped[str] = mapped_column(sa.Text, default="")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    interrupted: Mapped[int] = mapped_column(default=0, server_default="0")
    asked_again_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    study: Mapped[StudyRow] = relationship(back_populates="analyses")
    decisions: Mapped[list[DecisionRow]] = relationship(order_by="DecisionRow.id")
    findings: Mapped[list[FindingRow]] = relationship(order_by="FindingRow.id")
    results: Mapped[list[ResultRow]] = relationship(back_populates="analysis", order_by="ResultRow.id")

    @property
    def begun_at(self) -> datetime:
        """When it was asked for, the last time."""
        return self.asked_again_at or self.created_at


class DecisionRow(Base):
    """Which model reads a series in an analysis, or why none does."""

    __tablename__ = "decisions"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    analysis_id: Mapped[str] = mapped_column(sa.ForeignKey("analyses.analysis_id"), index=True)
    series_instance_uid: Mapped[str] = mapped_column(UID)
    model: Mapped[str | None] = mapped_column(sa.String(64))
    reason: Mapped[str] = mapped_column(sa.Text)


class FindingRow(Base):
    """One finding of one model on one series."""

    __tablename__ = "findings"
    __table_args__ = (
        sa.UniqueConstraint("analysis_id", "series_instance_uid", "model", "stack_number", "number"),
        sa.Index("findings_by_model", "model", "read_at", "name", "evaluation"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    analysis_id: Mapped[str] = mapped_column(sa.ForeignKey("analyses.analysis_id"), index=True)
    series_instance_uid: Mapped[str] = mapped_column(UID)
    model: Mapped[str] = mapped_column(sa.String(64))
    model_version: Mapped[str] = mapped_column(sa.String(64))
    weights_digest: Mapped[str] = mapped_column(sa.String(64))
    stack_number: Mapped[int]
    number: Mapped[int]
    name: Mapped[str] = mapped_column(sa.String(64))
    label: Mapped[str] = mapped_column(sa.Text)
    probability: Mapped[float]
    operating_point: Mapped[str] = mapped_column(sa.String(64))
    threshold: Mapped[float]
    evaluation: Mapped[Evaluation] = mapped_column(_enum(Evaluation))
    key_sop_instance_uid: Mapped[str] = mapped_column(UID)
    key_frame_number: Mapped[int | None]
    image_probabilities: Mapped[list[float]] = mapped_column(Json)
    class_probabilities: Mapped[dict[str, float]] = mapped_column(Json)
    device: Mapped[str] = mapped_column(sa.String(64))
    seconds: Mapped[float]
    read_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class ResultRow(Base):
    """One DICOM object that the node made; ``path`` is relative to the results folder.

    ``variant`` tells apart the same result written in different ways for different destinations.
    """

    __tablename__ = "results"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    sop_instance_uid: Mapped[str] = mapped_column(UID, unique=True)
    sop_class_uid: Mapped[str] = mapped_column(UID)
    analysis_id: Mapped[str] = mapped_column(sa.ForeignKey("analyses.analysis_id"), index=True)
    series_instance_uid: Mapped[str] = mapped_column(UID)
    model: Mapped[str] = mapped_column(sa.String(64))
    kind: Mapped[ResultKind] = mapped_column(_enum(ResultKind))
    variant: Mapped[str] = mapped_column(sa.String(80), default="")
    path: Mapped[str] = mapped_column(sa.Text)

    analysis: Mapped[AnalysisRow] = relationship(back_populates="results")
    deliveries: Mapped[list[DeliveryRow]] = relationship(back_populates="result", order_by="DeliveryRow.destination")


class DeliveryRow(Base):
    """One result object on its way to one destination, with the last attempt's outcome.

    ``transaction_uid`` is that of the storage commitment request that names it last, ``committed_at`` when the
    destination took responsibility for it; both stay empty where the destination is not asked to.
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        sa.UniqueConstraint("sop_instance_uid", "destination"),
        sa.Index("deliveries_by_state", "state"),
        sa.Index("deliveries_by_destination", "destination", "delivered_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    sop_instance_uid: Mapped[str] = mapped_column(sa.ForeignKey("results.sop_instance_uid"))
    analysis_id: Mapped[str] = mapped_column(sa.ForeignKey("analyses.analysis_id"), index=True)
    destination: Mapped[str] = mapped_column(sa.String(64))
    state: Mapped[DeliveryState] = mapped_column(_enum(DeliveryState))
    attempts: Mapped[int] = mapped_column(default=0)
    status: Mapped[int | None]
    message: Mapped[str] = mapped_column(sa.Text, default="")
    last_attempt_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    next_attempt_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    delivered_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    transaction_uid: Mapped[str | None] = mapped_column(UID, index=True)
    committed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    result: Mapped[ResultRow] = relationship(back_populates="deliveries")


class EventRow(Base):
    """One line of a study's timeline, in words."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    study_instance_uid: Mapped[str] = mapped_column(UID, index=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    text: Mapped[str] = mapped_column(sa.Text)


class RefusalRow(Base):
    """What the receiver refused a peer for one reason within a minute: associations (``status`` None) or objects.

    ``code`` is the reason's value (``receive/refusal.py``), ``reason`` the text of the first of ``count`` refusals,
    ``at`` the time of the last.
    """

    __tablename__ = "refusals"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    calling_ae_title: Mapped[str] = mapped_column(sa.String(64))
    address: Mapped[str] = mapped_column(sa.String(64))
    sop_instance_uid: Mapped[str] = mapped_column(sa.Text, default="")
    status: Mapped[int | None]
    code: Mapped[str] = mapped_column(sa.String(32), default="", server_default="")
    reason: Mapped[str] = mapped_column(sa.Text)
    count: Mapped[int] = mapped_column(default=1, server_default="1")


class CommitmentRequestRow(Base):
    """A peer's request for storage commitment: what the node is to answer for, and when the answer arrived.

    ``instances`` are pairs of SOP Class and SOP Instance UID.
    """

    __tablename__ = "commitment_requests"
    __table_args__ = (sa.UniqueConstraint("calling_ae_title", "transaction_uid"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    calling_ae_title: Mapped[str] = mapped_column(sa.String(16))
    transaction_uid: Mapped[str] = mapped_column(UID)
    instances: Mapped[list[list[str]]] = mapped_column(Json)
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    closed_at: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)
    outcome: Mapped[str] = mapped_column(sa.Text, default="")


class WorkerRow(Base):
    """A worker, by its id: one life of it at a time, and the last time that it told of itself.

    ``stopped_at`` is when it ended in order, ``taken_over_at`` when its work was given to others. ``trouble`` is what
    keeps its models from running as configured, in words; ``gpus`` are those of its host that they may run on.
    """

    __tablename__ = "workers"

    worker_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    host: Mapped[str] = mapped_column(sa.String(255))
    version: Mapped[str] = mapped_column(sa.String(64))
    life: Mapped[str] = mapped_column(sa.String(32))
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    beat_at: Mapped[datetime] = mapped_column(UtcDateTime)
    stopped_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    taken_over_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    trouble: Mapped[str] = mapped_column(sa.Text, default="", server_default="")
    gpus: Mapped[list[dict[str, Any]]] = mapped_column(Json, default=list, server_default="[]")


class UserRow(Base):
    """Somebody who may log in; the password is kept as an Argon2id hash only."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(sa.String(64), unique=True)
    role: Mapped[Role] = mapped_column(_enum(Role))
    password_hash: Mapped[str] = mapped_column(sa.String(256))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    disabled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class SessionRow(Base):
    """A user's session; the token itself is in the browser's cookie only."""

    __tablename__ = "sessions"

    token_digest: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"), index=True)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class ApiKeyRow(Base):
    """A machine caller's key: the digest of a bearer key's secret; None of a signing key, whose secret is derived."""

    __tablename__ = "api_keys"

    key_id: Mapped[str] = mapped_column(sa.String(16), primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(64))
    role: Mapped[Role] = mapped_column(_enum(Role))
    secret_digest: Mapped[str | None] = mapped_column(sa.String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class NonceRow(Base):
    """A nonce of a signed request that was taken, for as long as the request could be repeated."""

    __tablename__ = "nonces"

    key_id: Mapped[str] = mapped_column(sa.ForeignKey("api_keys.key_id"), primary_key=True)
    nonce: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class ModelSettingRow(Base):
    """What an administrator decided of a model; a column that is empty leaves it to the bundle as it was installed.

    ``operating_points`` names the point of each finding, ``version_id`` the version of this node's data that reads
    instead of the installed one, ``shadow_id`` the one that reads beside it and whose results are kept, never sent.
    """

    __tablename__ = "model_settings"

    model: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    enabled: Mapped[bool | None]
    operating_points: Mapped[dict[str, str]] = mapped_column(Json)
    version_id: Mapped[int | None] = mapped_column(sa.ForeignKey("model_versions.id"))
    shadow_id: Mapped[int | None] = mapped_column(sa.ForeignKey("model_versions.id"))


class ModelChangeRow(Base):
    """One line of a model's history, in words: what was decided of it, by whom."""

    __tablename__ = "model_changes"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    model: Mapped[str] = mapped_column(sa.String(64), index=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    by: Mapped[str] = mapped_column(sa.String(64))
    text: Mapped[str] = mapped_column(sa.Text)


class ModelVersionRow(Base):
    """A version of a model that was asked to be trained on this node's data, and what became of it.

    ``data`` are the labelled data sets, by id. ``comparison`` holds the evaluations of the version and of the one that
    was in use, on the same test images. ``cancel_requested_at`` is when somebody asked to stop the training.
    """

    __tablename__ = "model_versions"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    model: Mapped[str] = mapped_column(sa.String(64), index=True)
    version: Mapped[str] = mapped_column(sa.String(64))
    base_version: Mapped[str] = mapped_column(sa.String(64))
    weights_digest: Mapped[str | None] = mapped_column(sa.String(64))
    state: Mapped[VersionState] = mapped_column(_enum(VersionState), index=True)
    reason: Mapped[str] = mapped_column(sa.Text, default="")
    epochs: Mapped[int | None]
    data: Mapped[list[int]] = mapped_column(Json)
    comparison: Mapped[dict[str, Any] | None] = mapped_column(Json)
    requested_by: Mapped[str] = mapped_column(sa.String(64))
    requested_at: Mapped[datetime] = mapped_column(UtcDateTime)
    cancel_requested_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    trained_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class LabelledDataRow(Base):
    """A set of labelled images that was uploaded for a model and passed its checks.

    ``images`` counts them by split, then class; ``notes`` are what the checks had to say.
    """

    __tablename__ = "labelled_data"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    model: Mapped[str] = mapped_column(sa.String(64), index=True)
    name: Mapped[str] = mapped_column(sa.String(64))
    folder: Mapped[str] = mapped_column(sa.String(64))
    images: Mapped[dict[str, dict[str, int]]] = mapped_column(Json)
    notes: Mapped[list[str]] = mapped_column(Json)
    uploaded_by: Mapped[str] = mapped_column(sa.String(64))
    uploaded_at: Mapped[datetime] = mapped_column(UtcDateTime)


class VerdictRow(Base):
    """What one reader says of one finding: right or wrong. It names what it is about itself, and outlives the finding.

    ``evaluation`` is what the model had said.
    """

    __tablename__ = "verdicts"
    __table_args__ = (
        sa.UniqueConstraint(
            "analysis_id", "series_instance_uid", "stack_number", "number", "model", "model_version", "reader"
        ),
        sa.Index("verdicts_by_model", "model", "model_version"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    analysis_id: Mapped[str] = mapped_column(sa.ForeignKey("analyses.analysis_id"))
    series_instance_uid: Mapped[str] = mapped_column(UID)
    stack_number: Mapped[int]
    number: Mapped[int]
    model: Mapped[str] = mapped_column(sa.String(64))
    model_version: Mapped[str] = mapped_column(sa.String(64))
    finding: Mapped[str] = mapped_column(sa.String(64))
    evaluation: Mapped[Evaluation] = mapped_column(_enum(Evaluation))
    reader: Mapped[str] = mapped_column(sa.String(64))
    right: Mapped[bool]
    note: Mapped[str] = mapped_column(sa.Text, default="")
    at: Mapped[datetime] = mapped_column(UtcDateTime)


class ModelInputRow(Base):
    """What a model was given on one stack, in a few figures that identify nobody (``lifecycle/drift.py``)."""

    __tablename__ = "model_inputs"
    __table_args__ = (
        sa.UniqueConstraint("analysis_id", "series_instance_uid", "stack_number", "model"),
        sa.Index("model_inputs_by_model", "model", "read_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    analysis_id: Mapped[str] = mapped_column(sa.ForeignKey("analyses.analysis_id"))
    series_instance_uid: Mapped[str] = mapped_column(UID)
    stack_number: Mapped[int]
    model: Mapped[str] = mapped_column(sa.String(64))
    model_version: Mapped[str] = mapped_column(sa.String(64))
    read_at: Mapped[datetime] = mapped_column(UtcDateTime)
    seconds: Mapped[float]
    features: Mapped[dict[str, Any]] = mapped_column(Json)


class ShadowFindingRow(Base):
    """What a version in shadow said where the one in use said ``in_use``; kept to compare the two, never sent."""

    __tablename__ = "shadow_findings"
    __table_args__ = (
        sa.UniqueConstraint("analysis_id", "series_instance_uid", "stack_number", "version_id", "number"),
        sa.Index("shadow_findings_by_version", "version_id", "finding"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    analysis_id: Mapped[str] = mapped_column(sa.ForeignKey("analyses.analysis_id"))
    series_instance_uid: Mapped[str] = mapped_column(UID)
    stack_number: Mapped[int]
    version_id: Mapped[int] = mapped_column(sa.ForeignKey("model_versions.id"))
    number: Mapped[int]
    finding: Mapped[str] = mapped_column(sa.String(64))
    probability: Mapped[float]
    evaluation: Mapped[Evaluation] = mapped_column(_enum(Evaluation))
    in_use: Mapped[Evaluation] = mapped_column(_enum(Evaluation))
    in_use_probability: Mapped[float]
    read_at: Mapped[datetime] = mapped_column(UtcDateTime)
