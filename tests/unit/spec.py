"""given(facts) .when(message) .then(facts): how tests of the execution's life read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

from execution_ledger.domain.execution import INITIAL, Circumstances, Decision, Execution, decide, decide_report, evolve
from execution_ledger.messages import events
from execution_ledger.messages.commands import ExecutionCommand, Submit
from execution_ledger.messages.events import Fact
from execution_ledger.messages.files import FileRef, file_payload
from execution_ledger.messages.ids import make_id
from execution_ledger.messages.parts import Failure, Options, PipelineRef, Policy, Refusal
from execution_ledger.messages.payload import Payload, json_payload
from execution_ledger.messages.reports import AnyReport

NOW_MS = 1_700_000_000_000
ID = make_id(NOW_MS, shard=1, random_bits=7)
RUNNER = "runner-1"
CLAIM = 3
STEPS: dict[str, list[str]] = {"load": [], "fit": ["load"]}
PIPELINE = PipelineRef(name="train", version=1, digest="d1")
OPTIONS = Options(train=False, plot=False, write=True)


def submit(execution_id: str = ID, command_id: str = "submit-1", policy: Policy | None = None, **asked: Any) -> Submit:
    return Submit(
        command_id=command_id,
        actor="ada",
        execution_id=execution_id,
        pipeline=PIPELINE,
        inputs=json_payload({"n": 1}),
        options=OPTIONS,
        policy=policy or Policy(),
        **asked,
    )


def queued(policy: Policy | None = None, **asked: Any) -> events.Queued:
    given = Circumstances(NOW_MS, next_number=4097, claim=CLAIM)
    decision = decide(INITIAL, submit(policy=policy, **asked), given)
    assert isinstance(decision, list)
    fact = decision[0]
    assert isinstance(fact, events.Queued)
    return fact


def dispatched(attempt: int = 1, timeout_at: int | None = None) -> Fact:
    return events.Dispatched(attempt=attempt, runner=RUNNER, claim=CLAIM, timeout_at=timeout_at)


def started(attempt: int = 1, ordinal: int = 1, timeout_at: int | None = None) -> Fact:
    return events.Started(attempt=attempt, runner=RUNNER, ordinal=ordinal, timeout_at=timeout_at)


def abort_requested(attempt: int | None = 1) -> Fact:
    return events.AbortRequested(attempt=attempt, grace_until=NOW_MS + 10_000)


def completed(attempt: int = 1) -> Fact:
    return events.Completed(attempt=attempt, outputs=json_payload({}))


def stored_file(content: bytes = b"x", media_type: str = "text/plain") -> Payload:
    """As a report names it; nothing is stored by it."""
    sha256 = hashlib.sha256(content).hexdigest()
    return file_payload(FileRef(sha256=sha256, size=len(content), media_type=media_type, name="x"))


def failure(kind: str = "user") -> Failure:
    return Failure(kind=kind, message="ValueError: no")


@dataclass(frozen=True)
class Given:
    execution: Execution | None
    now_ms: int = NOW_MS
    decision: Decision | None = None

    def at(self, now_ms: int) -> Given:
        return replace(self, now_ms=now_ms)

    def when(self, message: ExecutionCommand | AnyReport) -> Given:
        if isinstance(message, ExecutionCommand):
            given = Circumstances(self.now_ms, next_number=4097, claim=CLAIM)
            return replace(self, decision=decide(self.execution, message, given))
        return replace(self, decision=decide_report(self.execution, message, self.now_ms))

    def then(self, *facts: Fact) -> None:
        assert self.decision == list(facts)

    def then_types(self, *types: type[Fact]) -> list[Fact]:
        assert isinstance(self.decision, list), self.decision
        assert [type(fact) for fact in self.decision] == list(types)
        return self.decision

    def then_refused(self, code: str) -> None:
        assert isinstance(self.decision, Refusal), self.decision
        assert self.decision.code == code

    def then_nothing(self) -> None:
        assert self.decision == []


def given(*facts: Fact) -> Given:
    execution = INITIAL
    for fact in facts:
        execution = evolve(execution, fact)
    return Given(execution)
