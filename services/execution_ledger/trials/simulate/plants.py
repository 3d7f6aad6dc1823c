"""Planted records: deciding, folding or encoding raises on executions of the pipelines `planted-…`, always alike.

The ledger's own functions are replaced from outside for as long as a run lasts. What raises is a function of the record
alone, so a replay meets the same; and nothing that raised was ever written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from execution_ledger.domain.execution import Circumstances, Decision, Execution
from execution_ledger.ledger import deciding, recording, shard
from execution_ledger.messages.commands import AnyCommand, Submit
from execution_ledger.messages.events import Completed, Event, Fact, Failed, Queued, Warned
from execution_ledger.messages.reports import AnyReport, ReportCompleted

DecideReport = Callable[[Execution | None, AnyReport, int], list[Fact]]


class PlantedError(Exception):
    """What a mistake of our own would raise."""


@contextmanager
def planted() -> Iterator[None]:
    with ExitStack() as stack:
        for module, name, instead in (
            (deciding, "decide", _decide),
            (deciding, "decide_report", _decide_report),
            (shard, "evolve", _evolve),
            (recording, "encode_event", _encode),
        ):
            stack.enter_context(patch.object(module, name, instead(getattr(module, name))))
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
        return real(execution, report, now_ms)

    return decide_report


def _evolve(real: Callable[..., Execution]) -> Callable[..., Execution]:
    def evolve(execution: Execution | None, fact: Fact) -> Execution:
        if isinstance(fact, Completed) and _is(execution, "planted-evolve"):
            raise PlantedError("on a fold")
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


def _is(execution: Execution | None, pipeline: str) -> bool:
    return execution is not None and execution.name.rpartition("-")[0] == pipeline
