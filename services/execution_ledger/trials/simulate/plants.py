"""Planted records: deciding, folding or encoding raises on executions of the pipelines `planted-…`, always alike.
An executor that cannot begin, and events that older code does not know, are planted, too.

The services' own functions are replaced from outside for as long as a run lasts. What raises is a function of the
record alone, so a replay meets the same; and nothing that raised was ever written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from pydantic import TypeAdapter

from execution_ledger.domain.execution import Circumstances, Decision, Execution
from execution_ledger.ledger import deciding, recording, shard
from execution_ledger.messages import events
from execution_ledger.messages.commands import AnyCommand, Submit
from execution_ledger.messages.events import Completed, Event, Fact, Failed, Queued, Warned
from execution_ledger.messages.reports import AnyReport, ReportCompleted, ReportStarted
from execution_ledger.runner.executors import function
from execution_ledger.runner.outcomes import Outcome, refused

from .faults import Troubles
from .loop import LIFE
from .pipelines import BrokenPlace

NEW, NEWER = b'"executionledger.execution.requeued.v1"', b'"executionledger.execution.requeued.v2"'

DecideReport = Callable[[Execution | None, AnyReport, int], list[Fact]]


class PlantedError(Exception):
    """What a mistake of our own would raise."""


@contextmanager
def planted(troubles: Troubles) -> Iterator[None]:
    with ExitStack() as stack:
        for module, name, instead in (
            (deciding, "decide", _decide),
            (deciding, "decide_report", _decide_report),
            (shard, "evolve", _evolve),
            (recording, "encode_event", _encode),
            (function, "of_error", _of_error),
        ):
            stack.enter_context(patch.object(module, name, instead(getattr(module, name))))
        stack.enter_context(patch.object(events, "EVENTS", _Known(events.EVENTS, troubles)))
        yield


def _decide(real: Callable[..., Decision]) -> Callable[..., Decision]:
    def decide(execution: Execution | None, command: AnyCommand, circumstances: Circumstances) -> Decision:
        if isinstance(command, Submit) and command.pipeline.name == "planted-decide":
            raise PlantedError("on a submit")
        return real(execution, command, circumstances)

    return decide


def _decide_report(real: DecideReport) -> DecideReport:
    def decide_report(execution: Execution | None, report: AnyReport, now_ms: int) -> list[Fact]:
        if isinstance(report, ReportCompleted) and _is(execution, "planted-report"):
            raise PlantedError("on a report")
        if _is(execution, "planted-reports") and (not isinstance(report, ReportStarted) or _is_odd(report)):
            raise PlantedError("on every report, or on all but the first")
        return real(execution, report, now_ms)

    return decide_report


def _evolve(real: Callable[..., Execution]) -> Callable[..., Execution]:
    def evolve(execution: Execution | None, fact: Fact) -> Execution:
        if isinstance(fact, Completed) and _is(execution, "planted-evolve"):
            raise PlantedError("on a fold")
        if isinstance(fact, Failed) and _is(execution, "planted-reports"):
            raise PlantedError("on the fold of the failure, too")
        if isinstance(fact, Completed | Failed | Warned) and _is(execution, "planted-failing"):
            raise PlantedError("on a fold, and on that of the failure, too")
        return real(execution, fact)

    return evolve


def _encode(real: Callable[[Event], bytes]) -> Callable[[Event], bytes]:
    subjects = set[str]()

    def encode(event: Event) -> bytes:
        fact = event.data
        if isinstance(fact, Queued) and fact.pipeline.name == "planted-encode":
            subjects.add(event.subject)
        if isinstance(fact, Completed) and event.subject in subjects:
            raise PlantedError("on an encoding")
        return real(event)

    return encode


def _of_error(real: Callable[..., Outcome]) -> Callable[..., Outcome]:
    def of_error(error: BaseException, ours: str) -> Outcome:
        return refused("infrastructure", str(error)) if isinstance(error, BrokenPlace) else real(error, ours)

    return of_error


class _Known:
    """Events as the release of whoever reads them knows them: one that is behind meets a version that it does not."""

    def __init__(self, real: TypeAdapter[Event], troubles: Troubles) -> None:
        self._real, self._troubles = real, troubles

    def validate_json(self, raw: bytes) -> Event:
        life = LIFE.get()
        if life and NEW in raw and self._troubles.on("behind", life.name):
            raw = raw.replace(NEW, NEWER)
        return self._real.validate_json(raw)


def _is_odd(report: AnyReport) -> bool:
    return int(report.execution_id[-1], 16) % 2 == 1


def _is(execution: Execution | None, pipeline: str) -> bool:
    return execution is not None and execution.name.rpartition("-")[0] == pipeline
