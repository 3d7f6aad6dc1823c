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
    RequestAbort,
)
from execution_ledger.messages.parts import Policy, Refusal
from execution_ledger.messages.payload import json_payload
from execution_ledger.messages.reports import (
    AnyReport,
    ReportAborted,
    ReportCompleted,
    ReportFailed,
    ReportReleased,
    ReportStarted,
    ReportWarning,
)
from unit.spec import CLAIM, ID, NOW_MS, RUNNER, failure, submit

REFUSED = ["refused"]
NOTHING: list[str] = []

POLICIES = st.builds(
    Policy,
    delivery=st.sampled_from(["at_least_once", "at_most_once"]),
    losses_max=st.integers(0, 2),
    retries=st.integers(0, 2),
    abort_grace_ms=st.sampled_from([0, 10_000]),
)


class Naive:
    """Where it is, which attempt, how often it may still be tried again."""

    def __init__(self, policy: Policy) -> None:
        self.where = "queued"
        self.attempt = 0
        self.ordinal = 0
        self.entered = False
        self.losses_left, self.retries_left = policy.losses_max, policy.retries
        self.at_most_once = policy.delivery == "at_most_once"
        self.grace_ms, self.grace_until = policy.abort_grace_ms, 0

    def end(self, *facts: str) -> list[str]:
        self.where = "ended"
        return list(facts)

    def go_back(self) -> list[str]:
        self.where, self.entered = "queued", False
        return ["Requeued"]

    # --- commands -----------------------------------------------------------------------------------------------

    def dispatch(self, attempt: int) -> list[str]:
        if self.where != "queued" or attempt != self.attempt + 1:
            return REFUSED
        self.where, self.attempt, self.ordinal, self.entered = "on a runner", attempt, 0, False
        return ["Dispatched"]

    def request_abort(self, now_ms: int) -> list[str]:
        if self.where == "queued":
            return self.end("AbortRequested", "Aborted")
        if self.where != "on a runner":
            return REFUSED
        self.where, self.grace_until = "aborting", now_ms + self.grace_ms
        return ["AbortRequested"]

    def force_abort(self) -> list[str]:
        return REFUSED if self.where == "ended" else self.end("Aborted")

    def expire_attempt(self, attempt: int, cause: str, now_ms: int) -> list[str]:
        if attempt != self.attempt or self.where not in ("on a runner", "aborting"):
            return REFUSED
        if self.where == "aborting":
            return REFUSED if cause == "abort_grace" and now_ms < self.grace_until else self.end("Aborted")
        if cause == "abort_grace":
            return REFUSED
        return self._lose(cause)

    def _lose(self, cause: str) -> list[str]:
        if not self.losses_left or (self.entered and self.at_most_once):
            return self.end("Failed")
        self.losses_left -= cause == "lost"
        return self.go_back()

    def expire_queued(self) -> list[str]:
        return self.end("Failed") if self.where == "queued" else REFUSED

    # --- reports ------------------------------------------------------------------------------------------------

    def report(self, report: AnyReport) -> list[str]:
        if report.attempt != self.attempt or report.ordinal <= self.ordinal:
            return NOTHING
        if self.where == "on a runner":
            return self._report_while_running(report)
        return self._report_while_aborting(report) if self.where == "aborting" else NOTHING

    def _report_while_running(self, report: AnyReport) -> list[str]:
        entered_before = self.entered
        match report:
            case ReportStarted() if not self.entered:
                return self._enter(report)
            case ReportCompleted():
                return self._entering(report) + self.end("Completed")
            case ReportFailed():
                return self._entering(report) + self._fail()
            case ReportWarning() if self.entered:
                self.ordinal = report.ordinal
                return ["Warned"]
            case ReportAborted() if self.entered:
                return self.end("Aborted")
            case ReportReleased():
                return self.end("Failed") if entered_before and self.at_most_once else self.go_back()
        return NOTHING

    def _enter(self, report: AnyReport) -> list[str]:
        self.entered, self.ordinal = True, report.ordinal
        return ["Started"]

    def _entering(self, report: AnyReport) -> list[str]:
        return NOTHING if self.entered else self._enter(report)

    def _fail(self) -> list[str]:
        if not self.retries_left:
            return self.end("Failed")
        self.retries_left -= 1
        return self.go_back()

    def _report_while_aborting(self, report: AnyReport) -> list[str]:
        match report:
            case ReportStarted() if not self.entered:
                return self._enter(report)
            case ReportWarning():
                self.ordinal = report.ordinal
                return ["Warned"]
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
        self.now_ms = NOW_MS
        self.execution, self.naive = INITIAL, Naive(policy)
        self.ask(submit(policy=policy), ["Queued"])

    def ask(self, command: ExecutionCommand, expected: list[str]) -> None:
        decision = decide(self.execution, command, Circumstances(self.now_ms, next_number=4097, claim=CLAIM))
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
        self.ask(RequestAbort(**self.asking()), self.naive.request_abort(self.now_ms))

    @rule()
    def force_abort(self) -> None:
        self.ask(ForceAbort(**self.asking()), self.naive.force_abort())

    @rule(behind=st.integers(0, 1), cause=st.sampled_from(["lost", "timeout", "abort_grace"]))
    def expire_attempt(self, behind: int, cause: str) -> None:
        attempt = max(1, self.naive.attempt - behind)
        command = ExpireAttempt(**self.asking(), claim=CLAIM, attempt=attempt, cause=cause)
        self.ask(command, self.naive.expire_attempt(attempt, cause, self.now_ms))

    @rule()
    def expire_queued(self) -> None:
        self.ask(ExpireQueued(**self.asking(), claim=CLAIM), self.naive.expire_queued())

    @rule(behind=st.integers(0, 1), ordinal=st.integers(1, 4), what=st.integers(0, 5))
    def report(self, behind: int, ordinal: int, what: int) -> None:
        attempt = max(1, self.naive.attempt - behind)
        said = {"execution_id": ID, "attempt": attempt, "ordinal": ordinal, "runner": RUNNER, "time": NOW_MS}
        reports: tuple[AnyReport, ...] = (
            ReportStarted(**said),
            ReportWarning(**said, message="hm"),
            ReportCompleted(**said, outputs=json_payload({})),
            ReportFailed(**said, failure=failure()),
            ReportAborted(**said, entered=True),
            ReportReleased(**said),
        )
        self.compare(decide_report(self.execution, reports[what]), self.naive.report(reports[what]))

    @rule(by_ms=st.sampled_from([1, 9_999, 10_000]))
    def let_time_pass(self, by_ms: int) -> None:
        self.now_ms += by_ms

    @invariant()
    def they_are_at_the_same_attempt(self) -> None:
        assert (self.execution.attempt if self.execution else 0) == self.naive.attempt

    def asking(self) -> dict[str, object]:
        return {"command_id": "c-1", "actor": "ada", "execution_id": ID}


DeciderBesideNaiveModel.TestCase.settings = settings(max_examples=300, stateful_step_count=25, deadline=None)
test_the_decider_does_what_the_naive_model_says = DeciderBesideNaiveModel.TestCase
