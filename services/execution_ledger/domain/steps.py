"""The steps of an attempt: which may begin, go on and end. What does not fit changes nothing, as any stale report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from execution_ledger.messages.events import Queued, Recorded, StepChanged
from execution_ledger.messages.reports import ReportStep


@dataclass(frozen=True, slots=True)
class Step:
    """`tries`: how often it was begun; `reusable`: the sha256 of the outputs that it may take over without running."""

    name: str
    needs: tuple[str, ...]
    reusable: str | None = None
    status: Literal["pending", "started", "completed", "failed", "skipped"] = "pending"
    tries: int = 0


def planned(queued: Queued) -> tuple[Step, ...]:
    reused = {name: each.outputs.sha256 for name, each in (queued.reused or {}).items()}
    return tuple(Step(name, tuple(needs), reused.get(name)) for name, needs in (queued.steps or {}).items())


def anew(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    return tuple(replace(step, status="pending", tries=0) for step in steps)


def moved(steps: tuple[Step, ...], fact: Recorded) -> tuple[Step, ...]:
    if not isinstance(fact, StepChanged):
        return steps
    return tuple(
        replace(step, status=fact.status, tries=fact.tries) if step.name == fact.step else step for step in steps
    )


def fits(steps: tuple[Step, ...], report: ReportStep) -> bool:
    """Whether this may come next."""
    known = {step.name: step for step in steps}
    if (step := known.get(report.step)) is None:
        return False
    needed = {known[need].status for need in step.needs if need in known}
    begun = (step.status, report.tries) == ("started", step.tries)
    match report.status:
        case "started" if step.status == "started":
            return report.tries == step.tries + 1
        case "started":
            return (step.status, report.tries) == ("pending", 1) and needed <= {"completed"}
        case "completed" if report.reused:
            digest = report.outputs.sha256 if report.outputs else ""
            return (step.status, report.tries, digest) == ("pending", 0, step.reusable)
        case "completed":
            return begun and report.outputs is not None
        case "failed":
            return begun and report.failure is not None
        case "skipped":
            return (step.status, report.tries) == ("pending", 0) and bool(needed & {"failed", "skipped"})
