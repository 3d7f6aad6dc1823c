"""Defences of the ledger, taken out. Where a refusal goes, the fact that follows keeps what should have been refused,
so that the log shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

from execution_ledger.domain import execution as domain
from execution_ledger.domain.execution import Circumstances, Decision, Execution
from execution_ledger.domain.states import AbortRequested, Dispatched, Queued, Started
from execution_ledger.errors import Fenced, OutcomeUnknown
from execution_ledger.ledger import deciding
from execution_ledger.ledger.recording import Decided
from execution_ledger.ledger.shard import Answer, ShardState
from execution_ledger.ledger.writing import ShardServer
from execution_ledger.log.memory import MemoryWriter
from execution_ledger.log.protocol import Lane, Topic
from execution_ledger.messages.commands import AnyCommand, ClaimDispatch, Dispatch, ExpireAttempt, ExpireQueued, Submit
from execution_ledger.messages.events import CommandRejected, DispatcherClaimed, Fact
from execution_ledger.messages.parts import Refusal
from execution_ledger.messages.reports import AnyReport
from execution_ledger.trials.simulate.log import SimulatedLog
from removal.instead import instead


@contextmanager
def overlay_until_commit() -> Iterator[None]:
    """What was decided holds whatever became of its commit: the ledger fences itself and goes on, without reading."""
    real = ShardServer._append

    async def append(self: ShardServer, writer: MemoryWriter, decided: Decided) -> None:
        try:
            await real(self, writer, decided)
        except OutcomeUnknown:
            assert isinstance(self._log, SimulatedLog)
            writer._epoch = await self._log.fence(Lane(Topic.EVENTS, writer.shard))
            writer._ended = None

    with instead(ShardServer, "_append", append):
        yield


@contextmanager
def release_when_fenced() -> Iterator[None]:
    """Whoever is fenced takes the shard back at once."""
    real = ShardServer.serve

    async def serve(self: ShardServer, ready: Callable[[], None]) -> None:
        try:
            await real(self, ready)
        except Fenced as error:
            raise OutcomeUnknown("as if it had been no more than that") from error

    with instead(ShardServer, "serve", serve):
        yield


@contextmanager
def dedupe_by_command_id() -> Iterator[None]:
    def none_is_known(self: ShardState, command_id: str) -> Answer | None:
        return None

    with instead(ShardState, "answer", none_is_known):
        yield


@contextmanager
def _reports(excuse: Callable[[Execution, AnyReport], Execution]) -> Iterator[None]:
    """Reports are decided on an execution that suits them."""
    real = domain.decide_report

    def decide_report(execution: Execution | None, report: AnyReport, now_ms: int) -> list[Fact]:
        return real(excuse(execution, report) if execution else None, report, now_ms)

    with instead(deciding, "decide_report", decide_report):
        yield


def stale_attempt_refusal() -> AbstractContextManager[None]:
    def of_this_attempt(execution: Execution, report: AnyReport) -> Execution:
        if report.attempt == execution.attempt:
            return execution
        return replace(execution, attempt=report.attempt, ordinal=0)

    return _reports(of_this_attempt)


def stale_ordinal_refusal() -> AbstractContextManager[None]:
    return _reports(lambda execution, report: replace(execution, ordinal=min(execution.ordinal, report.ordinal - 1)))


def reports_of_its_runner() -> AbstractContextManager[None]:
    """As if each attempt had been sent to whoever reports of it."""

    def of_whom_reports(execution: Execution, report: AnyReport) -> Execution:
        state = execution.state
        if isinstance(state, Dispatched | Started | AbortRequested):
            return replace(execution, state=replace(state, runner=report.runner))
        return execution

    return _reports(of_whom_reports)


@contextmanager
def ids_have_their_time() -> Iterator[None]:
    def always_in_time(id_: str, age_max_ms: int, appended_ms: int) -> Refusal | None:
        return None

    with instead(deciding, "_outside_its_time", always_in_time):
        yield


@contextmanager
def refused_children_remembered() -> Iterator[None]:
    """A refusal of a child is remembered for as long as any other."""

    def rejected(command: AnyCommand, refusal: Refusal) -> Fact:
        return CommandRejected(
            command=command.type, body_digest=command.body_digest, keyed=command.keyed, refusal=refusal
        )

    with instead(deciding, "_rejected", rejected):
        yield


@contextmanager
def doubt_after_a_silence() -> Iterator[None]:
    with instead(ShardServer, "doubt", lambda self: None):
        yield


@contextmanager
def _dispatches(excuse: Callable[[Execution, Dispatch], Execution]) -> Iterator[None]:
    real = domain._dispatch

    def dispatch(execution: Execution, command: Dispatch, given: Circumstances) -> Decision:
        return real(excuse(execution, command), command, given)

    with instead(domain, "_dispatch", dispatch):
        yield


def next_attempt_only() -> AbstractContextManager[None]:
    return _dispatches(lambda execution, command: replace(execution, attempt=command.attempt - 1))


def backoff_enforced() -> AbstractContextManager[None]:
    def without_backoff(execution: Execution, command: Dispatch) -> Execution:
        state = execution.state
        return replace(execution, state=replace(state, not_before=None)) if isinstance(state, Queued) else execution

    return _dispatches(without_backoff)


@contextmanager
def stale_claim_refusal() -> Iterator[None]:
    def never_stale(claim: int, given: Circumstances) -> Refusal | None:
        return None

    with instead(domain, "_stale_claim", never_stale):
        yield


@contextmanager
def claims_only_grow() -> Iterator[None]:
    real = deciding._claim

    def claim(state: ShardState, command: ClaimDispatch) -> Decision:
        decision = real(state, command)
        if isinstance(decision, Refusal) and decision.code == "stale_claim":
            return [DispatcherClaimed(dispatcher=command.dispatcher, claim=command.claim or 0, address=command.address)]
        return decision

    with instead(deciding, "_claim", claim):
        yield


@contextmanager
def _expiries(excuse: Callable[[Execution], Execution]) -> Iterator[None]:
    """What is asked for before its time is granted, as if its time had long come."""
    real = domain._expire_attempt

    def expire_attempt(execution: Execution, command: ExpireAttempt, given: Circumstances) -> Decision:
        return real(excuse(execution), command, given)

    with instead(domain, "_expire_attempt", expire_attempt):
        yield


def timeouts_enforced() -> AbstractContextManager[None]:
    def overdue(execution: Execution) -> Execution:
        state = execution.state
        if isinstance(state, Dispatched | Started) and state.timeout_at is not None:
            return replace(execution, state=replace(state, timeout_at=0))
        return execution

    return _expiries(overdue)


def graces_enforced() -> AbstractContextManager[None]:
    def overdue(execution: Execution) -> Execution:
        state = execution.state
        return (
            replace(execution, state=replace(state, grace_until=0)) if isinstance(state, AbortRequested) else execution
        )

    return _expiries(overdue)


@contextmanager
def queue_time_enforced() -> Iterator[None]:
    real = domain._expire_queued

    def expire_queued(execution: Execution, command: ExpireQueued, given: Circumstances) -> Decision:
        state = execution.state
        if isinstance(state, Queued) and state.expires_at is not None:
            execution = replace(execution, state=replace(state, expires_at=0))
        return real(execution, command, given)

    with instead(domain, "_expire_queued", expire_queued):
        yield


@contextmanager
def ordinal_per_source() -> Iterator[None]:
    real = deciding._unacceptable_id

    def unacceptable_id(state: ShardState, command: Submit, appended_ms: int) -> Refusal | None:
        refusal = real(state, command, appended_ms)
        return None if refusal and refusal.code == "not_above_ordinal" else refusal

    with instead(deciding, "_unacceptable_id", unacceptable_id):
        yield
