"""The view store in memory, with what a database does to its clients: it goes away, answers late or not at all, cuts
connections, and comes back from a failover behind what it had confirmed.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from execution_ledger.errors import OutcomeUnknown, Unavailable
from execution_ledger.messages.ids import command_id_of_child
from execution_ledger.projector.changes import Changes, StoredPosition
from execution_ledger.projector.memory import MemoryStore

from .faults import Troubles

TRIP_S = (0.0005, 0.01)
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

State = dict[str, dict[Any, Any]]


class SimulatedStore(MemoryStore):
    """`moment` is called where a fault may wait for this client."""

    def __init__(
        self, troubles: Troubles, chance: random.Random, moment: Callable[[str, str], Awaitable[None]]
    ) -> None:
        super().__init__()
        self.went_back: list[tuple[StoredPosition, Changes]] = []  # by what a projector wrote, not by a failover
        self._troubles, self._chance, self._moment = troubles, chance, moment

    async def prepare(self) -> None:
        await self.travel()

    async def position(self, shard: int) -> StoredPosition | None:
        await self.travel()
        return await super().position(shard)

    async def apply(self, expected: StoredPosition | None, changes: Changes) -> None:
        try:
            await self.travel()
            if self._troubles.hits("store_cut", "store") and self._chance.random() < 0.5:
                raise Unavailable("The connection broke before the commit.")
            before = self.positions.get(changes.shard)
            await super().apply(expected, changes)
            if before and changes.position.sequence <= before.sequence:
                self.went_back.append((before, changes))
            await self._moment("answer", "store")
            await self.travel()
        except Unavailable as error:
            raise OutcomeUnknown(str(error)) from error
        if self._troubles.hits("store_cut", "store"):
            raise OutcomeUnknown("The connection broke after the commit.")

    async def first_event(self, execution_id: str) -> dict[str, Any]:
        """How an execution stands, with the event that queued it, as a gateway reads it; empty where it is unknown."""
        await self.travel()
        firsts = (row for row in self.journal.values() if (row["subject"], row["version"]) == (execution_id, 1))
        first = next(firsts, None)
        return self.executions[execution_id] | {"event": first["event"]} if first else {}

    async def completed_steps(self, execution_id: str) -> list[bytes]:
        """Of its last attempt: the events in which they completed, in the order of the steps."""
        await self.travel()
        row = self.executions[execution_id]
        steps = [self.steps.get((execution_id, row["attempt"], step)) for step in json.loads(row["steps"] or "{}")]
        completed = [step["sequence"] for step in steps if step and step["status"] == "completed"]
        return [self.journal[row["shard"], sequence]["event"] for sequence in completed]

    async def batch(self, batch_id: str) -> dict[str, int] | None:
        """As the gateway's views say it."""
        await self.travel()
        if (batch := self.batches.get(batch_id)) is None:
            return None
        made = {one for one, row in self.executions.items() if row["batch_id"] == batch_id}
        asked = {command_id_of_child(batch_id, index) for index in range(batch["count"])}
        refused = {
            row["subject"]
            for row in self.commands.values()
            if row["command_id"] in asked and row["refusal"] not in (None, "id_from_future")
        }
        ends = Counter[str](self.executions[one]["status"] for one in made)
        return {
            "count": batch["count"],
            "live": len(made & self.live_executions.keys()),
            "failed": ends["failed"],
            "aborted": ends["aborted"],
            "undecided": batch["count"] - len(made | refused),
        }

    async def first_events_of_batch(self, batch_id: str, statuses: Collection[str]) -> list[dict[str, Any]]:
        await self.travel()
        rows = [row for row in self.executions.values() if row["batch_id"] == batch_id and row["status"] in statuses]
        firsts = {row["subject"]: row["event"] for row in self.journal.values() if row["version"] == 1}
        return [row | {"event": firsts[row["id"]]} for row in rows]

    async def travel(self) -> None:
        slow = self._troubles.on("store_slow", "store")
        await self._moment("request", "store")
        await asyncio.sleep(self._chance.uniform(*TRIP_S) + (self._chance.uniform(0, slow.amount) if slow else 0))
        if self._troubles.on("store_away", "store"):
            raise Unavailable("Postgres does not answer.")

    def state(self) -> State:
        """Rows are never changed in place, so copies of the tables are enough."""
        return {name: dict(getattr(self, name)) for name in TABLES}

    def go_back(self, state: State) -> None:
        for name, table in state.items():
            setattr(self, name, table)
