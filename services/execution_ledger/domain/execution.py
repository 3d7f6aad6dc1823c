"""An execution's life: state, evolve, decide. The table of `services/README.md`, cell by cell; nothing here does I/O.

    queued ─► dispatched ─► started ─► completed | failed
      └────────────┴───────────┴─► abort_requested ─► aborted      (or completed / failed: it was too late)

`decide` answers a command with facts or a Refusal, and a report with facts, or with none where it comes too late.
Time arrives as data (`now_ms`, the shard's recorded time), so every decision can be made again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from execution_ledger.messages import events
from execution_ledger.messages.commands import (
    Dispatch,
    ExecutionCommand,
    ExpireAttempt,
    ExpireQueued,
    ForceAbort,
    Hold,
    RequestAbort,
    Submit,
    Unhold,
)
from execution_ledger.messages.events import Fact
from execution_ledger.messages.ids import business_key, name_of
from execution_ledger.messages.parts import AbortOutcome, Failure, Policy, Refusal, RequeueCause, Status
from execution_ledger.messages.reports import (
    AnyReport,
    ReportAborted,
    ReportCompleted,
    ReportFailed,
    ReportRecorded,
    ReportReleased,
    ReportStarted,
    ReportStep,
)

from .business import Ahead, taken
from .holding import held_or_not, hold, unhold
from .recording import recorded
from .retrying import after, again_or_failed, cause_of, in_seconds, lost, released, timed_out
from .states import AbortRequested, Dispatched, Ended, Quarantined, Queued, Started, State
from .steps import Step, anew, fits, moved, planned

# --- state ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Execution:
    """What deciding needs to know, and no payloads: inputs and outputs live in the log and in the views."""

    number: int
    name: str
    policy: Policy
    state: State = field(default_factory=Queued)
    attempt: int = 0  # the last one dispatched
    ordinal: int = 0  # the last report accepted from that attempt
    entered: bool = False  # in any attempt
    losses: int = 0  # how often it was queued again, by cause
    failures: int = 0
    timeouts: int = 0
    faults: int = 0  # of the infrastructure
    business: str | None = None  # its business id, with its pipeline
    steps: tuple[Step, ...] = ()  # as they stand in the last attempt

    def retried(self, cause: RequeueCause) -> int:
        """How often it has been queued again for this cause."""
        counted = {"lost": self.losses, "failed": self.failures, "timeout": self.timeouts}
        return counted.get(cause, self.faults if cause == "infrastructure" else 0)

    @property
    def may_not_run_again(self) -> bool:
        return self.policy.delivery == "at_most_once" and isinstance(self.state, Started)


INITIAL: Execution | None = None


# --- evolve -----------------------------------------------------------------------------------------------------


def evolve(execution: Execution | None, fact: Fact) -> Execution:
    """The state after `fact`. Raises ValueError for a fact that cannot follow."""
    if isinstance(fact, events.Queued):
        waiting, business = Queued(expires_at=fact.expires_at), None
        if fact.business_id is not None:
            business = business_key(fact.pipeline.name, fact.business_id)
        return Execution(fact.number, fact.name, fact.policy, waiting, business=business, steps=planned(fact))
    if execution is None:
        raise ValueError(f"{fact.TYPE} of an execution that was never queued")
    return _evolve_known(execution, fact)


def _evolve_known(execution: Execution, fact: Fact) -> Execution:
    match fact:
        case events.Dispatched():
            state = Dispatched(fact.runner, fact.timeout_at)
            return replace(execution, state=state, attempt=fact.attempt, ordinal=0, steps=anew(execution.steps))
        case events.Started():
            return replace(execution, state=_entered(execution.state, fact), ordinal=fact.ordinal, entered=True)
        case events.Recorded():
            return replace(execution, ordinal=fact.ordinal, steps=moved(execution.steps, fact))
        case events.Requeued():
            return replace(
                execution,
                state=Queued(fact.not_before, fact.expires_at),
                losses=execution.losses + (fact.cause == "lost"),
                failures=execution.failures + (fact.cause == "failed"),
                timeouts=execution.timeouts + (fact.cause == "timeout"),
                faults=execution.faults + (fact.cause == "infrastructure"),
            )
        case events.Held() | events.Unheld():
            return replace(execution, state=held_or_not(execution.state, fact))
        case events.AbortRequested():
            return replace(execution, state=_abort_requested(execution.state, fact.grace_until))
        case events.Aborted():
            return replace(execution, state=Ended(Status.ABORTED))
        case events.Completed():
            return replace(execution, state=Ended(Status.COMPLETED))
        case events.Failed():
            return replace(execution, state=Ended(Status.FAILED))
        case events.Quarantined():
            return replace(execution, state=Quarantined())
        case _:
            raise ValueError(f"{fact.TYPE} is no part of an execution's life")


def _entered(state: State, fact: events.Started) -> State:
    """A start that is reported after the abort was requested is recorded, but the status stays."""
    if isinstance(state, AbortRequested):
        return replace(state, entered=True)
    return Started(fact.runner, fact.timeout_at)


def _abort_requested(state: State, grace_until: int | None) -> AbortRequested:
    runner = state.runner if isinstance(state, Dispatched | Started) else ""
    return AbortRequested(runner, isinstance(state, Started), grace_until)


# --- decide: commands -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the shard knows beside the execution itself."""

    now_ms: int
    next_number: int
    claim: int  # the newest dispatcher claim this shard has seen
    ahead: Ahead | None = None  # another one, which is live and was first with the same business id


Decision = list[Fact] | Refusal


def decide(execution: Execution | None, command: ExecutionCommand, given: Circumstances) -> Decision:
    match command:
        case Submit():
            return _submit(execution, command, given)
        case _ if execution is None:
            return Refusal(code="unknown_execution", detail=f"There is no execution {command.execution_id}.")
        case Dispatch():
            return _dispatch(execution, command, given)
        case RequestAbort():
            return _request_abort(execution, command, given)
        case ForceAbort():
            return _force_abort(execution)
        case Hold():
            return hold(execution, command)
        case Unhold():
            return unhold(execution, command, given.now_ms)
        case ExpireAttempt():
            return _expire_attempt(execution, command, given)
        case ExpireQueued():
            return _expire_queued(execution, command, given)
        case _:
            raise TypeError(f"{type(command).__name__} is not a command to an execution")


def _submit(execution: Execution | None, command: Submit, given: Circumstances) -> Decision:
    if execution is not None:
        return Refusal(code="duplicate_id", detail=f"The execution {command.execution_id} exists already.")
    if given.ahead and (answer := taken(command, given.ahead)) is not None:
        return answer
    asked = {name: getattr(command, name) for name in _ASKED}
    number, expires_at = given.next_number, after(given.now_ms, command.policy.queue_ttl_ms)
    return [events.Queued(number=number, name=name_of(command.pipeline.name, number), expires_at=expires_at, **asked)]


_ASKED = Submit.model_fields.keys() & events.Queued.model_fields.keys()  # what it was asked for, it keeps


def _dispatch(execution: Execution, command: Dispatch, given: Circumstances) -> Decision:
    if refusal := _stale_claim(command.claim, given):
        return refusal
    state = execution.state
    if not isinstance(state, Queued) or command.attempt != execution.attempt + 1:
        return _impossible(execution, f"dispatching attempt {command.attempt}")
    if state.held:
        return _impossible(execution, f"dispatching attempt {command.attempt}, which is held,")
    if given.ahead:
        return _impossible(execution, f"dispatching attempt {command.attempt} before the end of {given.ahead.name}")
    if state.not_before is not None and given.now_ms < state.not_before:
        return _impossible(execution, f"dispatching attempt {command.attempt} before its time")
    timeout_at = after(given.now_ms, execution.policy.timeout_ms)
    return [
        events.Dispatched(attempt=command.attempt, runner=command.runner, claim=command.claim, timeout_at=timeout_at)
    ]


def _request_abort(execution: Execution, command: RequestAbort, given: Circumstances) -> Decision:
    asked = {"body_digest": command.body_digest, "keyed": command.keyed}
    match execution.state:
        case Queued():
            return [events.AbortRequested(**asked), events.Aborted(outcome=_in_queue(execution))]
        case Dispatched() | Started():
            grace_until = given.now_ms + execution.policy.abort_grace_ms
            return [events.AbortRequested(attempt=execution.attempt, grace_until=grace_until, **asked)]
        case AbortRequested():
            return Refusal(code="abort_already_requested", detail="Its abort was requested already; it is under way.")
        case Ended(status):
            return Refusal(code="already_ended", detail=f"It is already {status}.")
        case Quarantined():
            return _impossible(execution, "a cooperative abort")


def _force_abort(execution: Execution) -> Decision:
    match execution.state:
        case Queued():
            return [events.Aborted(outcome=_in_queue(execution))]
        case Ended(status):
            return Refusal(code="already_ended", detail=f"It is already {status}.")
        case _:
            return [events.Aborted(attempt=execution.attempt or None, outcome="forced")]


def _in_queue(execution: Execution) -> AbortOutcome:
    """How an abort ends what waits: at once, for there is no code to stop."""
    return "not_running" if execution.entered else "never_started"


def _expire_attempt(execution: Execution, command: ExpireAttempt, given: Circumstances) -> Decision:
    if refusal := _stale_claim(command.claim, given):
        return refusal
    if command.attempt != execution.attempt:
        return _impossible(execution, f"expiring attempt {command.attempt}")
    match execution.state, command.cause:
        case ((Dispatched() | Started()), "lost"):
            return [lost(execution, command.execution_id, given.now_ms)]
        case ((Dispatched(timeout_at=at) | Started(timeout_at=at)), "timeout") if _is_past(at, given):
            return [timed_out(execution, command.execution_id, given.now_ms)]
        case AbortRequested(grace_until=until), "abort_grace" if until is None or given.now_ms >= until:
            return [events.Aborted(attempt=execution.attempt, outcome="forced")]
        case AbortRequested(), "lost":
            return [events.Aborted(attempt=execution.attempt, outcome="lost")]
        case _:
            return _impossible(execution, f"expiring it for {command.cause}")


def _is_past(deadline: int | None, given: Circumstances) -> bool:
    """What has no deadline cannot miss it."""
    return deadline is not None and given.now_ms >= deadline


def _expire_queued(execution: Execution, command: ExpireQueued, given: Circumstances) -> Decision:
    if refusal := _stale_claim(command.claim, given):
        return refusal
    if not (isinstance(execution.state, Queued) and _is_past(execution.state.expires_at, given)):
        return _impossible(execution, "expiring it in the queue")
    message = f"it waited for a runner for more than {in_seconds(execution.policy.queue_ttl_ms)}"
    return [events.Failed(failure=Failure(kind="expired", message=message))]


def _stale_claim(claim: int, given: Circumstances) -> Refusal | None:
    if claim == given.claim:
        return None
    return Refusal(code="stale_claim", detail=f"Claim {claim} is not the newest one here, {given.claim}.")


def _impossible(execution: Execution, what: str) -> Refusal:
    return Refusal(
        code="illegal_state",
        detail=f"{what} is not possible while it is {execution.state.word} (attempt {execution.attempt}).",
    )


# --- decide: reports --------------------------------------------------------------------------------------------


def decide_report(execution: Execution | None, report: AnyReport, now_ms: int) -> list[Fact]:
    """What the report changes; nothing if it is stale, repeated, another runner's, or says what no longer matters."""
    if execution is None or report.attempt != execution.attempt or report.ordinal <= execution.ordinal:
        return []
    if isinstance(report, ReportStep) and not fits(execution.steps, report):
        return []
    match execution.state:
        case Dispatched(runner) | Started(runner) | AbortRequested(runner) if runner != report.runner:
            return []  # whoever that is, it was not sent there
        case Dispatched():
            return _report_on_dispatched(execution, report, now_ms)
        case Started():
            return _report_on_started(execution, report, now_ms)
        case AbortRequested() as state:
            return _report_on_abort(state, report)
        case _:
            return []


def _report_on_dispatched(execution: Execution, report: AnyReport, now_ms: int) -> list[Fact]:
    match report:
        case ReportStarted() | ReportCompleted() | ReportFailed():
            started = _started(report, after(now_ms, execution.policy.timeout_ms))
            following = _report_on_started(evolve(execution, started), report, now_ms)
            return [started, *following]
        case ReportReleased():
            return [released(execution, now_ms)]
        case _:
            return []


def _report_on_started(execution: Execution, report: AnyReport, now_ms: int) -> list[Fact]:
    match report:
        case ReportRecorded():
            return [recorded(report)]
        case ReportCompleted():
            return [events.Completed(attempt=report.attempt, outputs=report.outputs)]
        case ReportFailed():
            return [again_or_failed(execution, report.execution_id, cause_of(report.failure), report.failure, now_ms)]
        case ReportAborted():
            return [events.Aborted(attempt=report.attempt, outcome="self")]
        case ReportReleased():
            return [released(execution, now_ms)]
        case _:
            return []


def _report_on_abort(state: AbortRequested, report: AnyReport) -> list[Fact]:
    match report:
        case ReportStarted() if not state.entered:
            return [_started(report, None)]  # the grace of the abort is its deadline now
        case ReportRecorded():
            return [recorded(report)]
        case ReportCompleted():
            return [events.Completed(attempt=report.attempt, outputs=report.outputs, abort="too_late")]
        case ReportFailed():
            return [events.Failed(attempt=report.attempt, failure=report.failure, abort="too_late")]
        case ReportAborted() | ReportReleased():
            entered = state.entered or (isinstance(report, ReportAborted) and report.entered)
            return [events.Aborted(attempt=report.attempt, outcome="acknowledged" if entered else "never_started")]
        case _:
            return []


def _started(report: AnyReport, timeout_at: int | None) -> Fact:
    return events.Started(
        attempt=report.attempt,
        runner=report.runner,
        ordinal=report.ordinal,
        timeout_at=timeout_at,
        origin=report.origin if isinstance(report, ReportStarted) else None,
    )
