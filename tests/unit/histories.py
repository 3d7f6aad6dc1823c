"""Histories that the real ledger decided: of random steps, and the recorded one that the golden digests are of."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from execution_ledger.domain import execution
from execution_ledger.ledger import deciding
from execution_ledger.ledger.recording import Cause, Decided, append, cursor_of
from execution_ledger.ledger.shard import ShardState, fold, initial
from execution_ledger.log.protocol import Lane, Record, Topic
from execution_ledger.messages import events
from execution_ledger.messages.commands import (
    AnyCommand,
    ChangeLabels,
    ClaimDispatch,
    Dispatch,
    ExpireAttempt,
    ForceAbort,
    Hold,
    OpenBatch,
    OpenJob,
    RegisterExperiment,
    RegisterPipeline,
    RegisterTemplate,
    RegisterTwin,
    RemoveTwin,
    RequestAbort,
    Submit,
    Unhold,
)
from execution_ledger.messages.events import Event, decode_event, digest_of, encode_event
from execution_ledger.messages.ids import business_key, make_id, shard_of, shard_of_business
from execution_ledger.messages.parts import Failure, Origin, PipelineRef, Policy
from execution_ledger.messages.payload import json_payload
from execution_ledger.messages.reports import (
    AnyReport,
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
from execution_ledger.settings import LedgerSettings
from unit.changes_of_steps import OF_A_STEP, REUSED, STEPS
from unit.dispatcher_stage import OPTIONS, SHARDS, START_MS, ShardLedger
from unit.spec import stored_file

RECORDED = Path(__file__).with_name("recorded.jsonl")
PIPELINES = ("train", "predict", "fetch")
RUNNERS = ("r1", "r2")

Step = tuple[str, int, int]  # what, and two numbers that it may use


class Story:
    """Two shards whose ledgers are told what a test picks; each step may be refused, or come too late."""

    def __init__(self) -> None:
        self.ledgers = [ShardLedger(shard) for shard in range(SHARDS)]
        self.now_ms = START_MS
        self.submitted: list[str] = []
        self.attempts: dict[str, int] = {}
        self._numbers = itertools.count(1)
        self.claim()

    def tell(self, step: Step) -> None:
        what, one, other = step
        self.now_ms += 997 * other
        _STEPS[what](self, one, other)
        for ledger in self.ledgers:
            ledger.decide()

    def claim(self) -> None:
        """As a dispatcher does: numbered on shard 0, then repeated on the others."""
        self._do(0, ClaimDispatch(command_id=self._id(), actor="d", dispatcher=f"d{next(self._numbers)}"))
        self.ledgers[0].decide()
        claim = self.ledgers[0].state.claim
        for shard in range(1, SHARDS):
            self._do(shard, ClaimDispatch(command_id=self._id(), actor="d", dispatcher="d", claim=claim))

    def submit(self, one: int, other: int) -> None:
        shard, name = 1 + one % (SHARDS - 1), PIPELINES[other % len(PIPELINES)]
        execution_id = make_id(self.now_ms, shard, next(self._numbers))
        self.submitted.append(execution_id)
        self._do(
            shard,
            Submit(
                command_id=self._id(),
                actor="ada",
                execution_id=execution_id,
                pipeline=PipelineRef(name=name, version=1 + one % 2, digest=f"{name}-v", limit=(None, 1, 3)[other % 3]),
                inputs=json_payload({"n": one}),
                options=OPTIONS,
                priority=one % 3,
                policy=Policy(losses_max=one % 3, retries=other % 2),
                origin=Origin(source="batch-1", ordinal=len(self.submitted)) if one % 4 == 0 else None,
                keyed=one % 3 == 0,
                body_digest="d" if one % 3 == 0 else None,
                steps=STEPS if one % 2 == 0 else None,
                reused=REUSED if one % 4 == 0 else None,
            ),
        )

    def dispatch(self, one: int, other: int) -> None:
        if execution_id := self._pick(one):
            attempt = self.attempts[execution_id] = self.attempts.get(execution_id, 0) + 1
            self._ask(
                execution_id,
                Dispatch(
                    command_id=self._id(),
                    actor="d",
                    claim=self.ledgers[0].state.claim,
                    execution_id=execution_id,
                    attempt=attempt,
                    runner=RUNNERS[other % len(RUNNERS)],
                ),
            )

    def expire(self, one: int, other: int) -> None:
        if execution_id := self._pick(one):
            self._ask(
                execution_id,
                ExpireAttempt(
                    command_id=self._id(),
                    actor="d",
                    claim=self.ledgers[0].state.claim,
                    execution_id=execution_id,
                    attempt=max(1, self.attempts.get(execution_id, 0)),
                    cause="lost",
                ),
            )

    def abort(self, one: int, other: int) -> None:
        if execution_id := self._pick(one):
            kind = ForceAbort if other % 3 == 0 else RequestAbort
            self._ask(execution_id, kind(command_id=self._id(), actor="ada", reason="why", execution_id=execution_id))

    def submit_business(self, one: int, other: int) -> None:
        """Of two business ids, in each way in which one may be taken."""
        pipeline, business_id = PIPELINES[0], f"order-{one % 2}"
        shard = shard_of_business(business_key(pipeline, business_id), SHARDS)
        execution_id = make_id(self.now_ms, shard, next(self._numbers))
        self.submitted.append(execution_id)
        self._do(
            shard,
            Submit(
                command_id=self._id(),
                actor="ada",
                execution_id=execution_id,
                pipeline=PipelineRef(name=pipeline, version=1, digest=f"{pipeline}-v"),
                inputs=json_payload({"n": one}),
                options=OPTIONS,
                business_id=business_id,
                if_live=(None, "first", "wait")[other % 3],
            ),
        )

    def hold(self, one: int, other: int) -> None:
        if execution_id := self._pick(one):
            kind = (Hold, Unhold)[other % 2]
            self._ask(execution_id, kind(command_id=self._id(), actor="ada", reason="why", execution_id=execution_id))

    def label(self, one: int, other: int) -> None:
        if execution_id := self._pick(one):
            said = {"labels": {"team": f"t{other}"}, "removed": ["old"]}
            self._ask(execution_id, ChangeLabels(command_id=self._id(), actor="ada", execution_id=execution_id, **said))

    def open_job(self, one: int, other: int) -> None:
        if target := self._pick(other):
            shard = 1 + one % (SHARDS - 1)
            job_id = make_id(self.now_ms, shard, next(self._numbers))
            targets = json_payload([target])
            command = OpenJob(
                command_id=self._id(), actor="ada", job_id=job_id, action="hold", count=1, targets=targets, keyed=True
            )
            self._do(shard, command)

    def register(self, one: int, other: int) -> None:
        name = PIPELINES[one % len(PIPELINES)]
        definition = json_payload({"name": name, "limit": other or None, "code": "c"})
        self._do(
            0,
            RegisterPipeline(
                command_id=self._id(), actor="ada", pipeline=name, digest=f"{name}-{other}", definition=definition
            ),
        )

    def enter(self, one: int, other: int) -> None:
        """Now and then in vain: a twin before its template, or with a value too many; one removed that is not there."""
        twin: dict[str, Any] = {"command_id": self._id(), "actor": "ada", "key": f"pump-{other % 2}"}
        new = {**twin, "digest": f"d{other}"}
        properties = {"kw": {"type": "number", "required": other % 2 == 0}}
        values = {"kw": other} if other % 3 else {}
        commands: list[Callable[[], AnyCommand]] = [
            lambda: RegisterTemplate(**{**new, "key": "pump"}, definition=json_payload({"properties": properties})),
            lambda: RegisterTwin(**new, definition=json_payload({"template": "pump", "values": values})),
            lambda: RegisterExperiment(**new, definition=json_payload({"name": f"Season {other}"})),
            lambda: RemoveTwin(**twin),
        ]
        self._do(0, commands[one % 4]())

    def open_batch(self, one: int, other: int) -> None:
        shard = 1 + one % (SHARDS - 1)
        self._do(
            shard,
            OpenBatch(
                command_id=self._id(),
                actor="ada",
                batch_id=make_id(self.now_ms, shard, next(self._numbers)),
                count=1 + other,
                opened=self.now_ms,
                versions={"train": PipelineRef(name="train", version=1, digest="train-v")},
                keyed=True,
                body_digest="b",
            ),
        )

    def repeat(self, one: int, other: int) -> None:
        """A command whose id was used before."""
        shard = 1 + one % (SHARDS - 1)
        used = [event.commandid for event in self.ledgers[shard].history if event.commandid]
        if used and (execution_id := self._pick(one)):
            command_id = used[other % len(used)]
            self._do(shard, RequestAbort(command_id=command_id, actor="ada", execution_id=execution_id))

    def report(self, one: int, other: int) -> None:
        if not (execution_id := self._pick(one)):
            return
        said = self._said(execution_id, one)
        kinds: list[Callable[[], AnyReport]] = [
            lambda: ReportStarted(**said),
            lambda: ReportStarted(**said),
            lambda: ReportWarning(**said, message="careful"),
            lambda: ReportCompleted(**said, outputs=json_payload({})),
            lambda: ReportFailed(**said, failure=Failure(kind="user", message="no")),
            lambda: ReportAborted(**said, entered=True),
            lambda: ReportReleased(**said),
            lambda: ReportArtifact(**said, kind="plot", name="trend", file=stored_file()),
            lambda: ReportMetric(**said, name="loss", values=[0.5, 0.25]),
            lambda: ReportCheckpoint(**said, value=json_payload({"at": one})),
        ]
        report = kinds[other % len(kinds)]()
        self._say(report)

    def step(self, one: int, other: int) -> None:
        """Some step changes, in a way that may come next or not."""
        if not (execution_id := self._pick(one)):
            return
        name = tuple(STEPS)[other % len(STEPS)]
        status, tries, more = OF_A_STEP[(one + other) % len(OF_A_STEP)]
        said = self._said(execution_id, one)
        self._say(ReportStep(**said, step=name, status=status, tries=tries, **more))

    def _said(self, execution_id: str, one: int) -> dict[str, Any]:
        return {
            "execution_id": execution_id,
            "attempt": max(1, self.attempts.get(execution_id, 0)),
            "ordinal": next(self._numbers),
            "runner": RUNNERS[one % len(RUNNERS)],
            "time": self.now_ms,
        }

    def _say(self, report: AnyReport) -> None:
        self.ledgers[shard_of(report.execution_id)].receive(Topic.REPORTS, report, self.now_ms)

    def _pick(self, one: int) -> str | None:
        return self.submitted[one % len(self.submitted)] if self.submitted else None

    def _ask(self, execution_id: str, command: AnyCommand) -> None:
        self._do(shard_of(execution_id), command)

    def _do(self, shard: int, command: AnyCommand) -> None:
        self.ledgers[shard].receive(Topic.COMMANDS, command, self.now_ms)

    def _id(self) -> str:
        return f"{next(self._numbers):032x}"


_STEPS: dict[str, Callable[[Story, int, int], None]] = {
    "submit": Story.submit,
    "dispatch": Story.dispatch,
    "report": Story.report,
    "expire": Story.expire,
    "abort": Story.abort,
    "hold": Story.hold,
    "submit_business": Story.submit_business,
    "label": Story.label,
    "open_job": Story.open_job,
    "register": Story.register,
    "enter": Story.enter,
    "open_batch": Story.open_batch,
    "repeat": Story.repeat,
    "claim": lambda story, one, other: story.claim(),
    "step": Story.step,
}
_OFTEN = ["submit", "submit", "dispatch", "dispatch", "report", "report", "report", "step", "step", *_STEPS]

steps = st.lists(
    st.tuples(st.sampled_from(_OFTEN), st.integers(0, 11), st.integers(0, 11)), min_size=5, max_size=60
).map(tuple)


def story_of(told: Sequence[Step]) -> Story:
    story = Story()
    for step in told:
        story.tell(step)
    return story


def interleaved(story: Story) -> Iterator[tuple[Event, int]]:
    """All shards' events in one order, with their offsets, as a reader of all lanes may get them."""
    rows = itertools.zip_longest(*(ledger.history for ledger in story.ledgers))
    return ((event, event.sequence) for row in rows for event in row if event)


def folded(history: Sequence[Event], shard: int, state: ShardState | None = None) -> ShardState:
    state = state or initial(shard, SHARDS, LedgerSettings())
    for event in history:
        state = fold(state, event, digest_of(encode_event(event)))
    return state


# --- the recorded history ---------------------------------------------------------------------------------------


def record() -> None:
    """Makes `recorded.jsonl` anew: `python -c 'from unit.histories import record; record()'` in the tests' folder.

    Only for new types of events; its digests change with it, and FOLD_VERSION only where the old file's did.
    """
    story = Story()
    names = [name for name in _STEPS if name not in ("enter", "step")]
    for number in range(36):
        numbers = (("submit", number * 7 % 11), ("dispatch", 1), ("report", 0), ("report", number % 10))
        steps = (("step", 0), ("step", 4)) if number % 2 == 0 else ()
        for what, other in (*numbers[:3], *steps, numbers[3], (names[number % len(names)], number % 5)):
            story.tell((what, number, other))
    story.tell(("submit", 0, 0))
    for other in (0, 1, 0):  # held, released, held
        story.tell(("hold", len(story.submitted) - 1, other))
    story.tell(("submit", 0, 0))
    story.tell(("abort", len(story.submitted) - 1, 1))
    for other in range(4):
        story.tell(("submit_business", 0, other))
    for one in range(4):
        story.tell(("enter", one, 1))
    with pytest.MonkeyPatch.context() as patch:
        _plant(story, patch)
    raw = [encode_event(event) for event, _ in interleaved(story)]
    RECORDED.write_bytes(b"".join(line + b"\n" for line in raw))


def _plant(story: Story, patch: pytest.MonkeyPatch) -> None:
    """What only a damaged record and a bug bring about, and what comes of reading alone."""
    ledger = story.ledgers[1]
    ledger._pending.append(Record(Lane(Topic.COMMANDS, 1), ledger._ends[Topic.COMMANDS], story.now_ms, b"", b"{"))
    ledger._ends[Topic.COMMANDS] += 1
    story.tell(("submit", 0, 0))
    story.tell(("dispatch", len(story.submitted) - 1, 0))
    evolve = execution.evolve

    def planted(known: execution.Execution | None, fact: events.Fact) -> execution.Execution:
        if isinstance(fact, events.Failed):
            raise ZeroDivisionError("planted")
        return evolve(known, fact)

    patch.setattr(deciding, "decide_report", lambda *_: 1 / 0)
    patch.setattr("execution_ledger.ledger.shard.evolve", planted)
    story.tell(("report", len(story.submitted) - 1, 0))
    cursor = replace(cursor_of(ledger.state), reports=ledger.state.rep_offset + 5)
    facts: list[events.Fact] = [events.ShardCheckpointed(ignored=5)]
    read = append(Decided(ledger.state, cursor), "shard/1", facts, Cause(ledger.state.recorded_ms))
    ledger.state = read.state
    ledger.history += [decode_event(record.value) for record in read.outgoing]


def recorded() -> list[Event]:
    return [decode_event(raw) for raw in RECORDED.read_bytes().splitlines()]
