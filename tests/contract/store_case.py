"""What the parts of the store contract share: a history of everything, and how a test projects one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from contract.events_builder import BEGIN_MS, History
from execution_ledger.messages.events import (
    Aborted,
    AbortRequested,
    ArtifactRecorded,
    Checkpointed,
    CommandRejected,
    Completed,
    Dispatched,
    Held,
    LabelsChanged,
    MetricRecorded,
    Quarantined,
    Requeued,
    ShardCheckpointed,
    ShardClaimed,
    ShardCreated,
    Started,
    StepChanged,
    Unheld,
    Warned,
)
from execution_ledger.messages.ids import shard_of
from execution_ledger.messages.parts import Failure, Refusal
from execution_ledger.messages.payload import json_payload
from execution_ledger.messages.steps import CodeOrigin
from execution_ledger.projector.changes import Changes, StoredPosition
from execution_ledger.projector.columns import moment
from execution_ledger.projector.rows import fold
from execution_ledger.projector.store import ViewStore
from unit.spec import stored_file

Row = dict[str, Any]

DISPATCHED = Dispatched(attempt=1, runner="runner-1", claim=1)
STARTED = Started(attempt=1, runner="runner-1", ordinal=1)
PLOTTED = ArtifactRecorded(attempt=1, ordinal=3, kind="plot", name="trend", file=stored_file(), step="fit")
MEASURED = MetricRecorded(attempt=1, ordinal=4, name="loss", values=[0.5, 0.25])
STEPS: dict[str, list[str]] = {"load": [], "fit": ["load"]}
BUSY = Failure(kind="user", message="busy")
LOADED = (
    StepChanged(attempt=1, ordinal=3, step="load", status="started", tries=1, origin=CodeOrigin(kind="local")),
    StepChanged(attempt=1, ordinal=4, step="load", status="started", tries=2, failure=BUSY),
    StepChanged(attempt=1, ordinal=5, step="load", status="completed", tries=2, outputs=json_payload({"rows": 3})),
)
COMPLETED = Completed(attempt=1, outputs=json_payload({"out": 1}))


TABLES = (
    "positions",
    "journal",
    "executions",
    "live_executions",
    "attempts",
    "steps",
    "warnings",
    "artifacts",
    "metrics",
    "checkpoints",
    "pipelines",
    "entries",
    "batches",
    "jobs",
    "commands",
)


class StoreCase:
    """A subclass brings the fixture `store` and reads tables of it."""

    async def rows(self, store: Any, table: str) -> list[Row]:
        """All rows of a table, as column: value, ids as text."""
        raise NotImplementedError

    async def announced(self, store: Any, work: Any) -> list[tuple[int, int]]:
        """The (shard, sequence) that listeners are told while `work` is awaited."""
        raise NotImplementedError

    async def execution(self, store: Any, execution_id: str) -> Row:
        (row,) = [row for row in await self.rows(store, "executions") if row["id"] == execution_id]
        return row


async def folded(store: ViewStore, history: History) -> Changes:
    at = await store.position(history.shard)
    return fold(history.shard, at, history.take(), history.offset)


async def project(store: ViewStore, history: History) -> None:
    """What was added to the history since the last time, as one batch."""
    at: StoredPosition | None = await store.position(history.shard)
    await store.apply(at, fold(history.shard, at, history.take(), history.offset))


def at_ms(events: int) -> Any:
    """When the n-th event of a history was recorded."""
    return moment(BEGIN_MS) + timedelta(milliseconds=events)


def shard_of_row(row: Row) -> int:
    return shard_of(row.get("execution_id") or row["id"])


def comparable(row: Row) -> Row:
    """Without what differs between two shards with the same history."""
    return {column: value for column, value in row.items() if column not in ("id", "execution_id", *_OF_THE_SHARD)}


_OF_THE_SHARD = ("shard", "number", "name", "digest")


def add_a_life_of_everything(history: History) -> None:
    """Every kind of event, and executions in every state."""
    history.add("shard", ShardCreated(log_id="log-1", shards=4), ShardClaimed(owner="ledger-1"))
    done, lost, stopped, forced, waiting, running, quarantined = (history.queue(steps=STEPS) for _ in range(7))
    for execution in (done, lost, stopped, forced, running):
        history.add(execution, DISPATCHED, STARTED)
    history.add(done, Warned(attempt=1, ordinal=2, message="hot"), PLOTTED, MEASURED, *LOADED, COMPLETED)
    history.add(lost, *LOADED[:-1])
    history.add(running, LOADED[0])
    history.add(lost, Checkpointed(attempt=1, ordinal=2, value=json_payload("half")))
    history.add(lost, Requeued(attempt=1, cause="lost"), Dispatched(attempt=2, runner="runner-2", claim=1))
    history.add(lost, Requeued(attempt=2, cause="lost"))
    history.add(stopped, AbortRequested(attempt=1), actor="grace", reason="too hot")
    history.add(stopped, Aborted(attempt=1, outcome="acknowledged"), actor="runner-1")
    history.add(forced, Aborted(attempt=1, outcome="forced"), actor="grace")
    history.add(quarantined, Quarantined(error="boom"))
    held, released, ended_held = (history.queue(labels={"team": "blue", "old": "x"}) for _ in range(3))
    for execution in (held, released, ended_held):
        history.add(execution, Held(), actor="grace", reason="wait")
        history.add(execution, LabelsChanged(labels={"team": "red"}, removed=["old"]))
    history.add(released, Unheld())
    history.add(ended_held, Aborted(outcome="never_started"), actor="grace")
    history.add(ended_held, LabelsChanged(labels={"late": "1"}))
    refusal = Refusal(code="already", detail="already queued")
    history.add(waiting, CommandRejected(command="submit.v1", refusal=refusal), commandid="late")
    history.add("shard", ShardCheckpointed(ignored=1))
