"""The decider beside a naive model: whatever is asked and reported in whatever order, both come to the same.

The model is what a person would tell of an execution's life: a few plain variables, changed by hand.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from execution_ledger.domain.execution import INITIAL, Circumstances, Decision, Execution, decide, decide_report, evolve
from execution_ledger.messages.commands import (
    Dispatch,
    ExecutionCommand,
    ExpireAttempt,
    ExpireQueued,
    ForceAbort,
    Hold,
    RequestAbort,
    Unhold,
)
from execution_ledger.messages.parts import Backoff, Policy, Refusal
from execution_ledger.messages.payload import json_payload
from execution_ledger.messages.reports import (
    AnyReport,
    ReportAborted,
    ReportArtifact,
    ReportCheckpoint,
    ReportCompleted,
    ReportFailed,
    ReportMetric,
    ReportRecorded,
    ReportReleased,
    ReportStarted,
    ReportWarning,
)
from unit.spec import CLAIM, ID, NOW_MS, RUNNER, failure, stored_file, submit

REFUSED = ["refused"]
NOTHING: list[str] = []
RECORDED = {
    ReportWarning: "Warned",
    ReportArtifact: "ArtifactRecorded",
    ReportMetric: "MetricRecorded",
    ReportCheckpoint: "Checkpointed",
}

POLICIES = st.builds(
    Policy,
    delivery=st.sampled_from(["at_least_once", "at_most_once"]),
    losses_max=st.integers(0, 2),
    retries=st.integers(0, 2),
    timeout_retries=st.integers(0, 1),
    infrastructure_retries=st.integers(0, 1),
    backoff=st.sampled_from([Backoff(first_ms=0), Backoff(first_ms=5_000, factor=2, max_ms=8_000, jitter=0)]),
    timeout_ms=st.sampled_from([None, 3_000]),
    queue_ttl_ms=st.sampled_from([None, 4_000]),
    abort_grace_ms=st.sampled_from([0, 10_000]),
)


class Naive:
    """Where it is, which attempt, how often it may still be tried again, and by when."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.left = {
            "lost": policy.losses_max,
            "failed": policy.retries,
            "timeout": policy.timeout_retries or 0,
            "infrastructure": policy.infrastructure_retries or 0,
        }
        self.tries = dict.fromkeys(self.left, 0)
        self.attempt = self.ordinal = 0
        self.entered = False  # in this attempt
        self.now_ms = self.not_before = NOW_MS
        self.wait()

    def wait(self) -> None:
        self.where, self.entered, self.held = "queued", False, False
        self.deadline = self.in_(self.policy.queue_ttl_ms, self.not_before)

    def in_(self, duration_ms: int | None, from_ms: int | None = None) -> int | None:
        return None if duration_ms is None else (from_ms or self.now_ms) + duration_ms

    @property
    def missed(self) -> bool:
        return self.deadline is not None and self.now_ms >= self.deadline

    def end(self, *facts: str) -> list[str]:
        self.where = "ended"
        return list(facts)

    def try_again(self, cause: str, *, helps: bool = True) -> list[str]:
        """What was lost has waited for long enough; all else waits twice as long each time, within bounds."""
        if not self.left[cause] or not helps or self.is_spent:
            return self.end("Failed")
        backoff = self.policy.backoff or Backoff()
        delay = 0 if cause == "lost" else min(backoff.max_ms, backoff.first_ms * 2 ** self.tries[cause])
        self.left[cause] -= 1
        self.tries[cause] += 1
        self.not_before = self.now_ms + delay
        self.wait()
        return ["Requeued"]

    @property
    def is_spent(self) -> bool:
        return self.entered and self.policy.delivery == "at_most_once"

    # --- commands -----------------------------------------------------------------------------------------------

    def dispatch(self, attempt: int) -> list[str]:
        if self.where != "queued" or self.held or attempt != self.attempt + 1 or self.now_ms < self.not_before:
            return REFUSED
        self.where, self.attempt, self.ordinal = "on a runner", attempt, 0
        self.deadline = self.in_(self.policy.timeout_ms)
        return ["Dispatched"]

    def request_abort(self) -> list[str]:
        if self.where == "queued":
            return self.end("AbortRequested", "Aborted")
        if self.where != "on a runner":
            return REFUSED
        self.where, self.deadline = "aborting", self.in_(self.policy.abort_grace_ms)
        return ["AbortRequested"]

    def force_abort(self) -> list[str]:
        return REFUSED if self.where == "ended" else self.end("Aborted")

    def expire_attempt(self, attempt: int, cause: str) -> list[str]:
        if attempt != self.attempt:
            return REFUSED
        match self.where, cause:
            case "aborting", "lost":
                return self.end("Aborted")
            case "aborting", "abort_grace" if self.missed:
                return self.end("Aborted")
            case "on a runner", "lost":
                return self.try_again("lost")
            case "on a runner", "timeout" if self.missed:
                return self.try_again("timeout")
        return REFUSED

    def expire_queued(self) -> list[str]:
        return self.end("Failed") if self.where == "queued" and self.missed else REFUSED

    def hold(self) -> list[str]:
        if self.where != "queued" or self.held:
            return REFUSED
        self.held, self.deadline = True, None
        return ["Held"]

    def unhold(self) -> list[str]:
        if self.where != "queued" or not self.held:
            return REFUSED
        self.held, self.deadline = False, self.in_(self.policy.queue_ttl_ms, max(self.now_ms, self.not_before))
        return ["Unheld"]

    # --- reports ------------------------------------------------------------------------------------------------

    def report(self, report: AnyReport) -> list[str]:
        if report.attempt != self.attempt or report.ordinal <= self.ordinal:
            return NOTHING
        if self.where == "on a runner":
            return self._report_while_running(report)
        return self._report_while_aborting(report) if self.where == "aborting" else NOTHING

    def _report_while_running(self, report: AnyReport) -> list[str]:
        match report:
            case ReportStarted() if not self.entered:
                return self._enter(report)
            case ReportCompleted():
                return self._entering(report) + self.end("Completed")
            case ReportFailed(failure=failure):
                entering = self._entering(report)
                cause = "infrastructure" if failure.kind in ("infrastructure", "not_offered") else "failed"
                return entering + self.try_again(cause, helps=not failure.final)
            case ReportRecorded() if self.entered:
                self.ordinal = report.ordinal
                return [RECORDED[type(report)]]
            case ReportAborted() if self.entered:
                return self.end("Aborted")
            case ReportReleased():
                return self._give_back()
        return NOTHING

    def _give_back(self) -> list[str]:
        """Nobody's failure: it costs no retry."""
        if self.is_spent:
            return self.end("Failed")
        self.not_before = self.now_ms
        self.wait()
        return ["Requeued"]

    def _enter(self, report: AnyReport) -> list[str]:
        self.entered, self.ordinal = True, report.ordinal
        if self.where == "on a runner":
            self.deadline = self.in_(self.policy.timeout_ms)
        return ["Started"]

    def _entering(self, report: AnyReport) -> list[str]:
        return NOTHING if self.entered else self._enter(report)

    def _report_while_aborting(self, report: AnyReport) -> list[str]:
        match report:
            case ReportStarted() if not self.entered:
                return self._enter(report)
            case ReportRecorded():
                self.ordinal = report.ordinal
                return [RECORDED[type(report)]]
            case ReportCompleted():
                return self.end("Completed")
            case ReportFailed():
                return self.end("Failed")
            case ReportAborted() | ReportReleased():
                return self.end("Aborted")
        return NOTHING


class DeciderBesideNaiveModel(RuleBasedStateMachine):
    execution: Execution | None

    @initialize(policy=POLICIES)
    def submit(self, policy: Policy) -> None:
        self.execution, self.naive = INITIAL, Naive(policy)
        self.ask(submit(policy=policy), ["Queued"])

    def ask(self, command: ExecutionCommand, expected: list[str]) -> None:
        decision = decide(self.execution, command, Circumstances(self.naive.now_ms, next_number=4097, claim=CLAIM))
        self.compare(decision, expected)

    def compare(self, decision: Decision, expected: list[str]) -> None:
        facts = [] if isinstance(decision, Refusal) else decision
        assert (REFUSED if isinstance(decision, Refusal) else [type(fact).__name__ for fact in facts]) == expected
        for fact in facts:
            self.execution = evolve(self.execution, fact)

    @rule(step=st.integers(1, 2))
    def dispatch(self, step: int) -> None:
        attempt = self.naive.attempt + step
        self.ask(Dispatch(**self.asking(), claim=CLAIM, attempt=attempt, runner=RUNNER), self.naive.dispatch(attempt))

    @rule()
    def request_abort(self) -> None:
        self.ask(RequestAbort(**self.asking()), self.naive.request_abort())

    @rule()
    def force_abort(self) -> None:
        self.ask(ForceAbort(**self.asking()), self.naive.force_abort())

    @rule(behind=st.integers(0, 1), cause=st.sampled_from(["lost", "timeout", "abort_grace"]))
    def expire_attempt(self, behind: int, cause: str) -> None:
        attempt = max(1, self.naive.attempt - behind)
        command = ExpireAttempt(**self.asking(), claim=CLAIM, attempt=attempt, cause=cause)
        self.ask(command, self.naive.expire_attempt(attempt, cause))

    @rule()
    def expire_queued(self) -> None:
        self.ask(ExpireQueued(**self.asking(), claim=CLAIM), self.naive.expire_queued())

    @rule()
    def hold(self) -> None:
        self.ask(Hold(**self.asking()), self.naive.hold())

    @rule()
    def unhold(self) -> None:
        self.ask(Unhold(**self.asking()), self.naive.unhold())

    @rule(behind=st.integers(0, 1), ordinal=st.integers(1, 4), what=st.integers(0, 10))
    def report(self, behind: int, ordinal: int, what: int) -> None:
        attempt = max(1, self.naive.attempt - behind)
        said = {"execution_id": ID, "attempt": attempt, "ordinal": ordinal, "runner": RUNNER, "time": NOW_MS}
        reports: tuple[AnyReport, ...] = (
            ReportStarted(**said),
            ReportWarning(**said, message="hm"),
            ReportCompleted(**said, outputs=json_payload({})),
            ReportFailed(**said, failure=failure()),
            ReportFailed(**said, failure=failure("infrastructure")),
            ReportFailed(**said, failure=failure().model_copy(update={"final": True})),
            ReportAborted(**said, entered=True),
            ReportReleased(**said),
            ReportArtifact(**said, kind="plot", name="trend", file=stored_file()),
            ReportMetric(**said, name="rmse", value=0.1),
            ReportCheckpoint(**said, value=json_payload(7)),
        )
        self.compare(decide_report(self.execution, reports[what], self.naive.now_ms), self.naive.report(reports[what]))

    @rule(by_ms=st.sampled_from([1, 2_999, 3_000, 4_000, 8_000, 10_000]))
    def let_time_pass(self, by_ms: int) -> None:
        self.naive.now_ms += by_ms

    @invariant()
    def they_are_at_the_same_attempt(self) -> None:
        assert (self.execution.attempt if self.execution else 0) == self.naive.attempt

    def asking(self) -> dict[str, object]:
        return {"command_id": "c-1", "actor": "ada", "execution_id": ID}


DeciderBesideNaiveModel.TestCase.settings = settings(max_examples=300, stateful_step_count=25, deadline=None)
test_the_decider_does_what_the_naive_model_says = DeciderBesideNaiveModel.TestCase
