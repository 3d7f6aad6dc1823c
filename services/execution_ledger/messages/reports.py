"""Reports: what a runner says of an attempt. One that comes too late changes nothing and leaves no event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, TypeAdapter

from .base import Message, ReportedTime
from .files import ArtifactKind, ArtifactName, FilePayload
from .ids import ExecutionId, StepName
from .metrics import MetricName, Number, Numbers
from .parts import Count, Failure, Reason, Text, Whole
from .payload import Payload
from .steps import CodeOrigin, StepStatus


class ReportBase(Message):
    """`(execution_id, attempt)` is the runner's token; `ordinal` grows with each of its reports, from 1."""

    execution_id: ExecutionId
    attempt: Count
    ordinal: Count
    runner: Text
    time: ReportedTime  # when it happened, by the runner's clock
    traceparent: Text | None = None


class ReportStarted(ReportBase):
    """`events.Started` says what the fields mean."""

    type: Literal["started.v1"] = "started.v1"
    origin: CodeOrigin | None = None


class ReportRecorded(ReportBase):
    """What the code of an attempt says while it runs; `events.Recorded` keeps it."""


class ReportWarning(ReportRecorded):
    type: Literal["warning.v1"] = "warning.v1"
    message: Reason
    step: StepName | None = None


class ReportArtifact(ReportRecorded):
    """Sent once its file is whole in the object store."""

    type: Literal["artifact.v1"] = "artifact.v1"
    kind: ArtifactKind
    name: ArtifactName
    file: FilePayload
    step: Text | None = None


class ReportMetric(ReportRecorded):
    type: Literal["metric.v1"] = "metric.v1"
    name: MetricName
    value: Number | None = None
    values: Numbers | None = None
    step: Text | None = None


class ReportCheckpoint(ReportRecorded):
    """Any JSON value; an attempt that follows begins with the newest one."""

    type: Literal["checkpoint.v1"] = "checkpoint.v1"
    value: Payload


class ReportStep(ReportRecorded):
    """What became of a step; `events.StepChanged` says what the fields mean."""

    type: Literal["step.v1"] = "step.v1"
    step: StepName
    status: StepStatus
    tries: Whole = 0
    failure: Failure | None = None
    outputs: Payload | None = None
    reused: ExecutionId | None = None
    origin: CodeOrigin | None = None


class ReportCompleted(ReportBase):
    type: Literal["completed.v1"] = "completed.v1"
    outputs: Payload


class ReportFailed(ReportBase):
    type: Literal["failed.v1"] = "failed.v1"
    failure: Failure


class ReportAborted(ReportBase):
    """`entered` tells whether the pipeline's code had begun."""

    type: Literal["aborted.v1"] = "aborted.v1"
    entered: bool
    reason: Reason | None = None


class ReportReleased(ReportBase):
    """A draining runner gives an attempt back."""

    type: Literal["released.v1"] = "released.v1"


AnyRecorded = ReportWarning | ReportStep | ReportArtifact | ReportMetric | ReportCheckpoint
AnyReport = ReportStarted | AnyRecorded | ReportCompleted | ReportFailed | ReportAborted | ReportReleased


class Said(NamedTuple):
    """What code has said: a report without what its runner adds. Whoever makes it sees to the caps of its fields."""

    kind: type[AnyRecorded]
    fields: Mapping[str, Any]


REPORTS: TypeAdapter[AnyReport] = TypeAdapter(Annotated[AnyReport, Field(discriminator="type")])
