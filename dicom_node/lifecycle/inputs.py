"""What the models were given: a row of figures for each stack that was read, and what they say of drift."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from pydicom import Dataset
from sqlalchemy.orm import Session

from dicom_node.database import now
from dicom_node.domain import ImageStack, Reading
from dicom_node.inference.preprocessing import apply_window
from dicom_node.lifecycle.drift import (
    MINIMUM_CASES,
    PIXELS,
    Distribution,
    Features,
    Stability,
    distributions,
    in_years,
    pixel_features,
    stability,
)
from dicom_node.manifest import ImageKind
from dicom_node.studies.attributes import attribute
from dicom_node.tables import ModelInputRow

REFERENCE_FILE = Path("docs/reference.json")
"""Where a bundle keeps how its training images are spread."""

_MOST_CASES = 1000


def features_of(reading: Reading, stack: ImageStack, header: Dataset) -> dict[str, float | str | None]:
    """The figures of one stack: of its patient and device by the header, of its pixels by the key image.

    Slides tell nothing of their pixels here: a model reads their tiles, and the stack holds an overview.
    """
    words = {
        name: attribute(header, keyword).values
        for name, keyword in (("sex", "PatientSex"), ("manufacturer", "Manufacturer"))
    }
    ages = attribute(header, "PatientAge").numbers
    features: dict[str, float | str | None] = {
        "age": in_years(ages[0] if ages else None),
        **{name: values[0].strip().upper()[:64] if values else None for name, values in words.items()},
    }
    window = reading.manifest.input.window
    if reading.manifest.kind is not ImageKind.SLIDE and reading.findings:
        grey = stack.pixels[reading.findings[0].key_index]
        features |= pixel_features(apply_window(grey, window) if stack.hounsfield and window is not None else grey)
    return features


def save_input(session: Session, analysis_id: str, reading: Reading, stack_number: int, features: Features) -> None:
    """Write down what a model was given; a step that is replayed replaces it."""
    session.execute(
        sa.delete(ModelInputRow).where(
            ModelInputRow.analysis_id == analysis_id,
            ModelInputRow.series_instance_uid == reading.series_instance_uid,
            ModelInputRow.stack_number == stack_number,
            ModelInputRow.model == reading.model.name,
        )
    )
    session.flush()
    session.add(
        ModelInputRow(
            analysis_id=analysis_id,
            series_instance_uid=reading.series_instance_uid,
            stack_number=stack_number,
            model=reading.model.name,
            model_version=reading.model.version,
            read_at=now(),
            seconds=reading.seconds,
            features=dict(features),
        )
    )


def model_drift(session: Session, model: str, bundle: Path) -> list[Stability]:
    """Hold the latest cases against the training images where the bundle tells of them, else against the first cases.

    The first cases are not among those that are held against them.
    """
    trained = read_reference(bundle)
    first = _cases(session, model, ModelInputRow.read_at.asc(), MINIMUM_CASES)
    latest = _cases(session, model, ModelInputRow.read_at.desc(), _MOST_CASES)
    later = [features for at, features in latest if at > first[-1][0]] if first else []
    own = {name: found for name, found in distributions([f for _, f in first]).items() if name not in trained}
    rows = stability(trained, [features for _, features in latest], of_training=True)
    return [*rows, *stability(own, later, of_training=False)]


def read_reference(bundle: Path) -> dict[str, Distribution]:
    """How a bundle's training images are spread; nothing where it does not say, or says it in a way unknown here."""
    try:
        content = json.loads((bundle / REFERENCE_FILE).read_text(encoding="utf-8"))
        return {
            name: Distribution(tuple(part["counts"]), tuple(part.get("edges", ())), tuple(part.get("values", ())))
            for name, part in content["features"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def reference_of(cases: Sequence[Features]) -> dict[str, object]:
    """What ``read_reference`` reads, of the pixels of training images."""
    spread = distributions(cases)
    return {
        "cases": len(cases),
        "features": {
            name: {"counts": spread[name].counts, "edges": spread[name].edges, "values": spread[name].values}
            for name in PIXELS
            if name in spread
        },
    }


def _cases(
    session: Session, model: str, order: sa.UnaryExpression[datetime], limit: int
) -> list[tuple[datetime, Features]]:
    query = sa.select(ModelInputRow.read_at, ModelInputRow.features).where(ModelInputRow.model == model)
    return [(at, features) for at, features in session.execute(query.order_by(order).limit(limit))]
