"""Promise 7 under anything: after every step, folding the log from zero gives the very state that decided it.

Hypothesis sends commands and reports, sensible and absurd, moves the clock, and lets another ledger take the shard
over. What it finds is shrunk to the fewest steps that show it.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from execution_ledger.ledger.recording import Cause, Decided, append, cursor_of
from execution_ledger.messages import events
from execution_ledger.messages.base import Message
from execution_ledger.messages.commands import (
    ClaimDispatch,
    Dispatch,
    ExpireAttempt,
    ExpireQueued,
    ForceAbort,
    RequestAbort,
)
from execution_ledger.messages.ids import child_id
from execution_ledger.messages.parts import Failure, Origin, Policy
from execution_ledger.messages.payload import json_payload
from execution_ledger.messages.reports import (
    ReportAborted,
    ReportArtifact,
    ReportCheckpoint,
    ReportCompleted,
    ReportFailed,
    ReportMetric,
    ReportReleased,
    ReportStarted,
    ReportStep,
    ReportWarning,
)
from execution_ledger.messages.steps import Reused
from execution_ledger.verify.log.history import check_shard
from unit.spec import CLAIM, NOW_MS, RUNNER, stored_file, submit
from unit.test_deciding import SETTINGS, Ledger, new_id, replayed

SMALL = st.integers(1, 3)
EXECUTIONS = SMALL.map(new_id)
POLICIES = st.sampled_from(
    [Policy(), Policy(losses_max=0), Policy(retries=1), Policy(delivery="at_most_once", losses_max=1)]
)
BATCH = new_id(99)
OUTPUTS = json_payload({"n": 1})
NAMES = ("a", "b", "c", "d", "e")
# Random graphs: each step may need any of those before it.
DAGS = st.lists(st.sets(st.integers(0, 4)), max_size=5).map(
    lambda needs: {NAMES[at]: [NAMES[one] for one in sorted(of) if one < at] for at, of in enumerate(needs)} or None
)
STATUSES = st.sampled_from(["started", "started", "completed", "completed", "failed", "skipped", "reused"])


class LedgerBesideItsReplay(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.commands = 0

    def do(self, *messages: Message | bytes) -> None:
        self.ledger.do(*messages)

    def asking(self, execution_id: str) -> dict[str, object]:
        self.commands += 1
        return {"command_id": f"c-{self.commands}", "actor": "ada", "execution_id": execution_id}

    def dispatching(self, execution_id: str) -> dict[str, object]:
        """As whoever was the last to claim that."""
        claims = [event.data for event in self.ledger.events if isinstance(event.data, events.DispatcherClaimed)]
        return self.asking(execution_id) | {"actor": claims[-1].dispatcher}

    # --- commands -----------------------------------------------------------------------------------------------

    @rule(one=EXECUTIONS, policy=POLICIES, key=st.sampled_from([None, "k-1", "k-2", "k-3", "k-4"]), digest=SMALL)
    def submit(self, one: str, policy: Policy, key: str | None, digest: int) -> None:
        command_id = key or str(self.asking(one)["command_id"])
        fields = {"keyed": key is not None, "body_digest": f"d-{digest}"}
        self.do(submit(one, command_id, policy).model_copy(update=fields))

    @rule(index=st.integers(0, 3))
    def submit_child(self, index: int) -> None:
        """A source's ordinals only grow, whoever sends them again."""
        command_id = str(self.asking(BATCH)["command_id"])
        origin = Origin(source=f"batch/{BATCH}", ordinal=index)
        self.do(submit(child_id(BATCH, 1, index), command_id).model_copy(update={"origin": origin}))

    @rule(one=EXECUTIONS, attempt=SMALL, claim=st.sampled_from([CLAIM, CLAIM - 1]))
    def dispatch(self, one: str, attempt: int, claim: int) -> None:
        self.do(Dispatch(**self.dispatching(one), claim=claim, attempt=attempt, runner=RUNNER))

    @rule(one=EXECUTIONS, command=st.sampled_from([RequestAbort, ForceAbort]))
    def abort(self, one: str, command: type[RequestAbort] | type[ForceAbort]) -> None:
        self.do(command(**self.asking(one)))

    @rule(one=EXECUTIONS, attempt=SMALL, cause=st.sampled_from(["lost", "timeout", "abort_grace"]))
    def expire(self, one: str, attempt: int, cause: str) -> None:
        self.do(ExpireAttempt(**self.asking(one), claim=CLAIM, attempt=attempt, cause=cause))

    @rule(one=EXECUTIONS)
    def expire_queued(self, one: str) -> None:
        self.do(ExpireQueued(**self.asking(one), claim=CLAIM))

    @rule(claim=st.integers(CLAIM - 1, CLAIM + 1))
    def claim(self, claim: int) -> None:
        self.commands += 1
        self.do(ClaimDispatch(command_id=f"c-{self.commands}", actor="d-2", dispatcher="d-2", claim=claim))

    @rule(value=st.sampled_from([b"rubbish", b"{}", b'{"type":"submit.v9"}']))
    def send_rubbish(self, value: bytes) -> None:
        self.do(value)

    # --- reports ------------------------------------------------------------------------------------------------

    @rule(one=EXECUTIONS, attempt=SMALL, ordinal=st.integers(1, 4), what=st.integers(0, 8))
    def report(self, one: str, attempt: int, ordinal: int, what: int) -> None:
        said = {"execution_id": one, "attempt": attempt, "ordinal": ordinal, "runner": RUNNER, "time": NOW_MS}
        reports = (
            ReportStarted(**said),
            ReportWarning(**said, message="hm"),
            ReportCompleted(**said, outputs=json_payload({"n": 1})),
            ReportFailed(**said, failure=Failure(kind="user", message="no")),
            ReportAborted(**said, entered=True),
            ReportReleased(**said),
            ReportArtifact(**said, kind="plot", name="trend", file=stored_file()),
            ReportMetric(**said, name="rmse", value=0.1),
            ReportCheckpoint(**said, value=json_payload(7)),
        )
        self.do(reports[what])

    @rule(one=EXECUTIONS, step=st.sampled_from(NAMES), status=STATUSES, tries=st.integers(0, 2))
    def report_step(self, one: str, step: str, status: str, tries: int) -> None:
        """One that may come next, or not: of its newest attempt, with its next ordinal."""
        tracked = self.ledger.state.tracked(one)
        attempt, ordinal = (tracked.execution.attempt or 1, tracked.execution.ordinal) if tracked else (1, 0)
        said = {"execution_id": one, "attempt": attempt, "ordinal": ordinal + 1, "runner": RUNNER, "time": NOW_MS}
        more: dict[str, object] = {}
        if status in ("completed", "reused"):
            more = {"outputs": OUTPUTS, "reused": BATCH if status == "reused" else None}
        elif status == "failed" or tries == 2:
            more = {"failure": Failure(kind="user", message="no")}
        self.do(ReportStep(**said, step=step, status=status.replace("reused", "completed"), tries=tries, **more))

    @rule(one=EXECUTIONS, dag=DAGS, reused=st.sets(st.sampled_from(NAMES)))
    def run_to_its_start(self, one: str, dag: dict[str, list[str]] | None, reused: set[str]) -> None:
        """What chance alone would rarely come to: a life that goes on from its start."""
        tracked = self.ledger.state.tracked(one)
        attempt = tracked.execution.attempt + 1 if tracked else 1
        said = {"execution_id": one, "attempt": attempt, "ordinal": 1, "runner": RUNNER, "time": NOW_MS}
        claim = self.ledger.state.claim
        self.do(
            submit(one, str(self.asking(one)["command_id"]), steps=dag, reused=_reusable(dag, reused)),
            Dispatch(**self.dispatching(one), claim=claim, attempt=attempt, runner=RUNNER),
            ReportStarted(**said),
        )

    # --- what happens to a ledger -------------------------------------------------------------------------------

    @rule(by_ms=st.sampled_from([-5_000, 1, 500, 10_000, 131_000]))
    def let_time_pass(self, by_ms: int) -> None:
        self.ledger.now_ms += by_ms

    @rule()
    def take_over(self) -> None:
        """Another process replays the shard and goes on from there."""
        again = replayed(self.ledger)
        fresh = Decided(again, cursor_of(again))
        claimed = events.ShardClaimed(owner="ledger-2")
        self.ledger.keep(append(fresh, "shard/1", [claimed], Cause(self.ledger.now_ms)))

    @precondition(lambda self: self.ledger.ignored)
    @rule()
    def checkpoint(self) -> None:
        """Reports that left no event still move their lane's position, now and then."""
        decided = Decided(self.ledger.state, self.ledger.cursor)
        checkpointed = events.ShardCheckpointed(ignored=self.ledger.ignored)
        self.ledger.keep(append(decided, "shard/1", [checkpointed], Cause(self.ledger.state.recorded_ms)))

    @invariant()
    def the_fold_of_its_log_is_its_state(self) -> None:
        assert replayed(self.ledger) == self.ledger.state

    def teardown(self) -> None:
        """What came of it keeps every promise that a log can show."""
        found = check_shard(1, [(raw, offset) for offset, raw in enumerate(self.ledger.raw)], SETTINGS)
        assert found.breaches.kept == []


def _reusable(dag: dict[str, list[str]] | None, names: set[str]) -> dict[str, Reused] | None:
    return {name: Reused(execution=BATCH, outputs=OUTPUTS) for name in dag or () if name in names} or None


LedgerBesideItsReplay.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
test_a_replay_gives_the_state_whatever_came = LedgerBesideItsReplay.TestCase
