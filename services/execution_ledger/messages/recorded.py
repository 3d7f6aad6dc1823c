"""What the code of an attempt says while it runs, as facts: warnings, steps, artifacts, metrics, checkpoints."""

from __future__ import annotations

from .fact import Fact
from .files import ArtifactKind, ArtifactName, FilePayload
from .ids import ExecutionId, StepName
from .metrics import MetricName, Number, Numbers
from .parts import Count, Failure, Reason, Text, Whole
from .payload import Payload
from .steps import CodeOrigin, StepStatus


class Recorded(Fact):
    """What the code of an attempt said while it ran: it is kept, and moves nothing but the attempt's last report.

    Its fields are those of the report that said it.
    """

    attempt: Count
    ordinal: int


class Warned(Recorded):
    TYPE = "execution.warned.v1"
    message: Reason
    step: StepName | None = None


class StepChanged(Recorded):
    """What became of a step. It is pending before, and what its attempt's end finds open is closed by that end."""

    TYPE = "execution.step_changed.v1"
    step: StepName
    status: StepStatus
    tries: Whole = 0  # how often it was begun in this attempt
    failure: Failure | None = None  # of a further start: why the try before it failed
    outputs: Payload | None = None  # of one that has completed
    reused: ExecutionId | None = None  # it did not run: its outputs are those that it gave in this execution
    origin: CodeOrigin | None = None  # of its code; with its first start


class ArtifactRecorded(Recorded):
    """A plot, table, model, log or other file of an attempt. `file` names an object that is whole."""

    TYPE = "execution.artifact_recorded.v1"
    kind: ArtifactKind
    name: ArtifactName
    file: FilePayload
    step: Text | None = None


class MetricRecorded(Recorded):
    """A single `value`, of which the newest counts; or `values`, which go on from those recorded before."""

    TYPE = "execution.metric_recorded.v1"
    name: MetricName
    value: Number | None = None
    values: Numbers | None = None
    step: Text | None = None


class Checkpointed(Recorded):
    """How far the code has come, in its own words: the attempt that follows, if one does, begins with the newest."""

    TYPE = "execution.checkpointed.v1"
    value: Payload
