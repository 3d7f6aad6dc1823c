"""What readers get of artifacts, models and metrics, and how rows of the views become that."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from execution_ledger.messages.base import Message, Time
from execution_ledger.messages.parts import Mode, Status

VALUES_MAX = 10_000  # of one metric in one answer


class ArtifactRecord(Message):
    """A plot, table, model or file of an attempt. Of several with one name the newest counts."""

    sequence: int
    attempt: int
    kind: str
    name: str
    step: str | None
    sha256: str
    size: int
    media_type: str
    recorded_at: Time


class ArtifactPage(Message):
    items: list[ArtifactRecord]
    next: str | None
    position: str


class ModelRecord(Message):
    """A trained model. `version` is `<number of the execution>.<attempt>`: unique, and in the order of executions."""

    key: str
    version: str
    execution_id: str
    execution: str
    pipeline: str
    twin: str | None
    step: str | None
    sha256: str
    size: int
    media_type: str
    recorded_at: Time


class ModelPage(Message):
    items: list[ModelRecord]
    next: str | None
    position: str


class MetricRecord(Message):
    """One metric of one execution: the newest value, and over all values count, least and greatest.

    `values` are there for a list, and only where one execution is asked for: the first 10,000 in their order.
    """

    execution_id: str
    execution: str
    pipeline: str
    pipeline_version: int
    twin: str | None
    mode: Mode
    status: Status
    name: str
    step: str | None
    attempt: int
    value: float
    count: int
    min: float
    max: float
    values: list[float] | None
    recorded_at: Time


class MetricPage(Message):
    items: list[MetricRecord]
    next: str | None
    position: str


def artifact_record(row: Mapping[str, Any]) -> ArtifactRecord:
    return ArtifactRecord(**{name: _value(row[name]) for name in ArtifactRecord.model_fields})


def model_record(row: Mapping[str, Any]) -> ModelRecord:
    return ModelRecord(**{name: _value(row[name]) for name in ModelRecord.model_fields})


def metric_record(row: Mapping[str, Any], values: Mapping[tuple[Any, ...], list[float]]) -> MetricRecord:
    own = ("execution_id", "values")
    given = {name: _value(row[name]) for name in MetricRecord.model_fields if name not in own}
    listed = values.get((row["name"], row["step"], row["attempt"])) if row["listed"] else None
    return MetricRecord(execution_id=str(row["id"]), values=listed, **given)


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        return round(value.timestamp() * 1000)
    return str(value) if isinstance(value, UUID) else value
