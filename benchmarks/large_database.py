"""A database as a busy year leaves it: many studies with their series, analyses, findings, results and deliveries."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from dicom_node.database import Database
from dicom_node.domain import DeliveryState, Evaluation, ResultKind, StudyState
from dicom_node.tables import (
    AnalysisRow,
    Base,
    DecisionRow,
    DeliveryRow,
    EventRow,
    FindingRow,
    InstanceRow,
    ModelInputRow,
    RefusalRow,
    ResultRow,
    SeriesRow,
    StudyRow,
    VerdictRow,
)

STUDIES_A_DAY = 1000
HELD_DAYS = 7
SOURCES = ("CT1", "CT2", "CT3", "CT4", "CT5", "CT6", "CT7", "CT8", "XR1", "XR2", "ORTHANC")
MODALITIES = ("CT", "DX", "CR", "MR")
RARE_MODALITY, RARE_EVERY = "SM", 20_000
MODEL = "lung_ct"
DESTINATION = "archive"
_FAMILIES = ("MUELLER", "SCHMIDT", "OKAFOR", "NGUYEN", "GARCIA", "ROSSI", "IVANOV", "TANAKA", "SINGH", "LARSEN")
_GIVEN = ("ANNA", "BEN", "CHI", "DIEGO", "ELIF", "FARID", "GRETA", "HANA", "IGOR", "JUN")
_BATCH = 2000

Rows = dict[type[Base], list[dict[str, Any]]]


def study_uid(number: int) -> str:
    """The Study Instance UID of a study by its number; the newest has number 0."""
    return f"1.2.826.0.1.3680043.8.498.4711.{number:012d}"


def accession_number(number: int) -> str:
    """The accession number of a study."""
    return f"{(number * 7919) % 100_000_000:08d}"


def patient_id(number: int) -> str:
    """The ID of a study's patient, who has three studies."""
    return f"P{(number // 3 * 104729) % 10_000_000:07d}"


def fill(database: Database, studies: int, at: datetime, a_day: int = STUDIES_A_DAY) -> None:
    """Write ``studies`` studies that arrived one after the other until ``at``, ``a_day`` of them a day."""
    with database.session.begin() as session:
        session.execute(sa.insert(RefusalRow), list(_refusals(at)))
    chance = random.Random(4711)  # noqa: S311 - the same database every time
    for start in range(studies, 0, -_BATCH):
        rows: Rows = {}
        for number in range(start - 1, max(start - _BATCH, 0) - 1, -1):
            _study(rows, number, at - timedelta(days=1) * number / a_day, at, chance)
        with database.session.begin() as session:
            for kind, values in rows.items():
                session.execute(sa.insert(kind), values)
    with database.engine.connect() as connection:
        if database.engine.dialect.name != "sqlite":  # whose statistics are those of an empty table until it looks
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(sa.text("VACUUM ANALYZE"))


def _study(rows: Rows, number: int, arrived: datetime, at: datetime, chance: random.Random) -> None:
    uid, name = study_uid(number), f"{study_uid(number)}-{'0' * 16}"
    state = _state(number, chance)
    modality = RARE_MODALITY if number % RARE_EVERY == RARE_EVERY - 1 else MODALITIES[number % len(MODALITIES)]
    ended = arrived + timedelta(seconds=chance.uniform(5, 90))
    removed = arrived + timedelta(days=HELD_DAYS) if at - arrived > timedelta(days=HELD_DAYS) else None
    _add(
        rows,
        StudyRow,
        study_instance_uid=uid,
        state=state,
        reason="" if state is not StudyState.NOT_APPLICABLE else "Not read by lung_ct: Modality is MR, needs to be CT.",
        patient_name=f"{_FAMILIES[number // 3 % 10]}^{_GIVEN[number // 30 % 10]}",
        patient_id=patient_id(number),
        accession_number=accession_number(number),
        study_date=f"{arrived:%Y%m%d}",
        study_description=f"{modality} of the chest",
        calling_ae_title=SOURCES[number % len(SOURCES)],
        first_received_at=arrived - timedelta(seconds=20),
        last_received_at=arrived,
        state_changed_at=ended,
        latest_analysis_id=name,
        removed_at=removed,
    )
    for place in range(2):
        series = f"{uid}.{place}"
        description = f"Series {place}"
        values = {"modality": modality, "series_number": place, "series_description": description}
        _add(rows, SeriesRow, series_instance_uid=series, study_instance_uid=uid, body_part_examined="CHEST", **values)
        if removed is None:
            _add_instances(rows, uid, series, arrived)
    times = {"last_image_at": arrived, "created_at": arrived + timedelta(seconds=2), "finished_at": ended}
    _add(
        rows,
        AnalysisRow,
        analysis_id=name,
        study_instance_uid=uid,
        input_digest="0" * 64,
        last_instance_id=1,
        state=state,
        reason="",
        **times,
    )
    read = state not in (StudyState.NOT_APPLICABLE, StudyState.QUEUED)
    _add(
        rows,
        DecisionRow,
        analysis_id=name,
        series_instance_uid=f"{uid}.0",
        model=MODEL if read else None,
        reason="Read." if read else "Not read by lung_ct: Modality is MR, needs to be CT.",
    )
    _add(rows, DecisionRow, analysis_id=name, series_instance_uid=f"{uid}.1", model=None, reason="Too few images.")
    if read:
        _add_reading(rows, name, uid, number, ended, chance)
    for text in ("First instance received.", "Complete.", "Analysis of 6 images began.", f"Analysis ended: {state}."):
        _add(rows, EventRow, study_instance_uid=uid, at=arrived, text=text)


def _state(number: int, chance: random.Random) -> StudyState:
    if number < 10:
        return (StudyState.QUEUED, StudyState.DELIVERING)[number % 2]
    weights = {StudyState.DELIVERED: 80, StudyState.NOT_APPLICABLE: 18, StudyState.FAILED: 2}
    return chance.choices(list(weights), list(weights.values()))[0]


def _add_instances(rows: Rows, study: str, series: str, arrived: datetime) -> None:
    for number in range(3):
        _add(
            rows,
            InstanceRow,
            sop_instance_uid=f"{series}.{number}",
            series_instance_uid=series,
            study_instance_uid=study,
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            analysable=True,
            path=f"{study}/{series}.{number}.dcm",
            size_bytes=525_000,
            received_at=arrived,
        )


def _add_reading(rows: Rows, name: str, uid: str, number: int, ended: datetime, chance: random.Random) -> None:
    probability = chance.random()
    _add(
        rows,
        FindingRow,
        analysis_id=name,
        series_instance_uid=f"{uid}.0",
        model=MODEL,
        model_version="1.0",
        weights_digest="0" * 64,
        stack_number=1,
        number=1,
        name="carcinoma",
        label="Lung carcinoma",
        probability=probability,
        operating_point="balanced",
        threshold=0.5,
        evaluation=Evaluation.PRESENT if probability > 0.5 else Evaluation.ABSENT,
        key_sop_instance_uid=f"{uid}.0.1",
        key_frame_number=None,
        image_probabilities=[probability] * 3,
        class_probabilities={"carcinoma": probability, "normal": 1 - probability},
        device="cpu",
        seconds=1.5,
        read_at=ended,
    )
    _add(
        rows,
        ModelInputRow,
        analysis_id=name,
        series_instance_uid=f"{uid}.0",
        stack_number=1,
        model=MODEL,
        model_version="1.0",
        read_at=ended,
        seconds=1.5,
        features={"age": float(number % 90), "sex": "F", "manufacturer": "MAKER", "brightness": probability},
    )
    if number % 20 == 0:
        _add_verdict(rows, name, uid, ended)
    state = DeliveryState.DELIVERED
    if number < 10:
        state = DeliveryState.RETRYING
    elif number % 500 == 7:
        state = DeliveryState.PARKED
    for kind in (ResultKind.STRUCTURED_REPORT, ResultKind.SECONDARY_CAPTURE):
        made = f"2.25.{number}{1 if kind is ResultKind.STRUCTURED_REPORT else 2:02d}"
        _add(
            rows,
            ResultRow,
            sop_instance_uid=made,
            sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34",
            analysis_id=name,
            series_instance_uid=f"{uid}.0",
            model=MODEL,
            kind=kind,
            variant="",
            path=f"{uid}/{made}.dcm",
        )
        _add(
            rows,
            DeliveryRow,
            sop_instance_uid=made,
            analysis_id=name,
            destination=DESTINATION,
            state=state,
            attempts=1,
            status=0 if state is DeliveryState.DELIVERED else 0xA700,
            message="",
            last_attempt_at=ended,
            delivered_at=ended if state is DeliveryState.DELIVERED else None,
        )


def _add_verdict(rows: Rows, name: str, uid: str, at: datetime) -> None:
    _add(
        rows,
        VerdictRow,
        analysis_id=name,
        series_instance_uid=f"{uid}.0",
        stack_number=1,
        number=1,
        model=MODEL,
        model_version="1.0",
        finding="carcinoma",
        evaluation=Evaluation.PRESENT,
        reader="reader",
        right=True,
        note="",
        at=at,
    )


def _refusals(at: datetime) -> Iterator[dict[str, Any]]:
    for number in range(5000):
        yield {
            "at": at - timedelta(minutes=number * 8),
            "calling_ae_title": SOURCES[number % len(SOURCES)],
            "address": "10.0.0.9",
            "code": "damaged",
            "reason": "data set ends inside an element",
        }


def _add(rows: Rows, table: type[Base], /, **values: Any) -> None:
    rows.setdefault(table, []).append(values)
