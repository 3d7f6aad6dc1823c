"""What code says while it runs becomes a fact with the same fields, whichever kind it is of."""

from __future__ import annotations

from execution_ledger.messages.events import (
    ArtifactRecorded,
    Checkpointed,
    Fact,
    MetricRecorded,
    Recorded,
    StepChanged,
    Warned,
)
from execution_ledger.messages.reports import (
    ReportArtifact,
    ReportCheckpoint,
    ReportMetric,
    ReportRecorded,
    ReportStep,
    ReportWarning,
)

_RECORDED: dict[type[ReportRecorded], type[Recorded]] = {
    ReportWarning: Warned,
    ReportStep: StepChanged,
    ReportArtifact: ArtifactRecorded,
    ReportMetric: MetricRecorded,
    ReportCheckpoint: Checkpointed,
}


def recorded(report: ReportRecorded) -> Fact:
    kind = _RECORDED[type(report)]
    return kind(**{name: getattr(report, name) for name in kind.model_fields})
