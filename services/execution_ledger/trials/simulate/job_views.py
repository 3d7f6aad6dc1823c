"""What the store in memory says of jobs, to the gateways that complete them: as late, and as often away."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from execution_ledger.gateway.edge.problems import away
from execution_ledger.gateway.writes.again import Ended, ended_of, given_by
from execution_ledger.messages.position import Position, covers
from execution_ledger.messages.steps import Reusable

from .store import SimulatedStore


class JobsInStore:
    """`known` is how far the gateway that asks has read the log: an older store does not count as an answer."""

    def __init__(self, store: SimulatedStore, known: Callable[[], Position]) -> None:
        self._store = store
        self._known = known

    async def job(self, job_id: str) -> bytes | None:
        await self._travel()
        row = self._store.jobs.get(job_id)
        return None if row is None else bytes(self._store.journal[row["shard"], row["sequence"]]["event"])

    async def asked(self, job_id: str) -> Collection[str]:
        await self._travel()
        return {row["command_id"] for row in self._store.commands.values() if row["job_id"] == job_id}

    async def first_events(self, execution_ids: Sequence[str]) -> Mapping[str, Ended]:
        await self._travel()
        wanted = set(execution_ids)
        firsts = {
            row["subject"]: row["event"]
            for row in self._store.journal.values()
            if row["version"] == 1 and row["subject"] in wanted
        }
        return {one: ended_of(self._store.executions[one] | {"event": firsts[one]}) for one in execution_ids}

    async def given(self, execution_id: str) -> Reusable:
        return given_by(await self._store.completed_steps(execution_id))

    async def open_jobs(self) -> Sequence[str]:
        await self._travel()
        return open_jobs(self._store)

    async def _travel(self) -> None:
        await self._store.travel()
        at = {shard: position.sequence for shard, position in self._store.positions.items()}
        if not covers(at, self._known()):
            raise away("views-behind", "The store is behind what this gateway has read.")


def open_jobs(store: SimulatedStore) -> list[str]:
    """Those of which not everything was asked."""
    asked = [row["job_id"] for row in store.commands.values() if row["job_id"]]
    return [job_id for job_id, row in store.jobs.items() if asked.count(job_id) < row["count"]]
