"""What the code of an attempt says while it runs, as facts: warnings, artifacts, metrics, checkpoints."""

from __future__ import annotations

from .fact import Fact
from .files import ArtifactKind, ArtifactName, FilePayload
from .metrics import MetricName, Number, Numbers
from .parts import Count, Reason, Text
from .payload import Payload


class Recorded(Fact):
    """What the code of an attempt said while it ran: it is kept, and moves nothing but the attempt's last report.

    Its fields are those of the report that said it.
    """

    attempt: Count
    ordinal: int


class Warned(Recorded):
    TYPE = "execution.warned.v1"
    message: Reason


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
