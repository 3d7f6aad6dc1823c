"""One client process that asks for more than can be decided, and writes down every answer that it gets.

Each caller has a connection of its own, and sends on as soon as it is answered, but no sooner than its share of the
rate allows: so what is under way is bounded, and everything ends by itself. Run by `overload.py`, with a plan in JSON
over standard input; the counts come back as JSON over standard output.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from torture.traffic import Connection, Reply, Server

PIPELINE = "load"
BATCH_SIZE = 100
AHEAD_S = 0.02
REPEATED = 8  # of so many keyed requests one is sent twice
_BODY = b'{"pipeline":"load","inputs":{"n":1}}'
_BATCH = b'{"executions":[' + b",".join([_BODY] * BATCH_SIZE) + b"]}"


@dataclass(frozen=True)
class Plan:
    url: str
    token: str
    name: str  # of this process, which its keys begin with
    seconds: float
    record: str  # the file that takes the answers, for `exledger verify --answers`
    singles_per_s: int
    single_callers: int
    batch_callers: int
    decidable_per_s: float = 0.0  # this process's share
    overdrive: float = 0.0  # executions to be asked for, per one that can be decided or is accepted


@dataclass
class Counts:
    """Executions asked for by single requests and in batches, and what came of it."""

    singles: int = 0
    singles_accepted: int = 0
    batched: int = 0
    batched_accepted: int = 0
    statuses: dict[str, int] = field(default_factory=dict)  # answers
    unhelpful: list[str] = field(default_factory=list)  # what should not have been answered, or how
    slowest_s: float = 0.0


class Load:
    def __init__(self, plan: Plan, record: TextIO) -> None:
        self.counts = Counts()
        self._plan = plan
        self._record = record
        self._server = Server(plan.url, plan.token)
        self._clock = asyncio.get_running_loop().time
        self._begin_s = self._clock()
        self._end_s = self._begin_s + plan.seconds

    async def run(self) -> None:
        plan = self._plan
        async with asyncio.TaskGroup() as callers:
            for number in range(plan.single_callers):
                callers.create_task(self._send_singles(number))
            for number in range(plan.batch_callers):
                callers.create_task(self._send_batches(number))

    async def _send_singles(self, number: int) -> None:
        """Every other caller uses keys."""
        connection = await self._server.connect()
        async for turn in self._turns(number):
            key = f"{self._plan.name}-{number}-{turn}" if number % 2 else None
            for _ in range(2 if key and turn % REPEATED == 0 else 1):
                connection, reply = await self._ask(connection, self._server.post("/v1/executions", _BODY, key))
                self.counts.singles += 1
                if reply and reply.status < 300:
                    self.counts.singles_accepted += reply.status != 200  # a repeat is no further execution
                    self._write(reply.status, json.loads(reply.body), key)
        connection.close()

    async def _send_batches(self, number: int) -> None:
        """As many as it takes to stay so far beyond what can be decided."""
        connection = await self._server.connect()
        turn = 0
        while self._clock() < self._end_s:
            if self._is_ahead():
                await asyncio.sleep(AHEAD_S)
                continue
            turn += 1
            key = f"{self._plan.name}-batch-{number}-{turn}" if number % 2 else None
            connection, reply = await self._ask(connection, self._server.post("/v1/batches", _BATCH, key))
            self.counts.batched += BATCH_SIZE
            if reply and reply.status < 300:
                self._write_batch(reply.status, json.loads(reply.body))
        connection.close()

    def _is_ahead(self) -> bool:
        counts, passed_s = self.counts, self._clock() - self._begin_s
        decidable = max(self._plan.decidable_per_s * passed_s, counts.singles_accepted + counts.batched_accepted)
        return counts.singles + counts.batched > self._plan.overdrive * decidable + BATCH_SIZE

    async def _turns(self, number: int) -> AsyncIterator[int]:
        pause_s = self._plan.single_callers / self._plan.singles_per_s
        due_s = self._begin_s + pause_s * (number % 10) / 10  # not all at the same moment
        turn = 0
        while due_s < self._end_s:
            await asyncio.sleep(due_s - self._clock())
            yield turn
            turn += 1
            due_s = max(due_s + pause_s, self._clock())  # what was missed is not made up for

    async def _ask(self, connection: Connection, request: bytes) -> tuple[Connection, Reply | None]:
        began_s = self._clock()
        try:
            reply = await connection.ask(request)
        except (TimeoutError, ConnectionError) as error:
            self._complain(type(error).__name__)
            connection.close()
            return await self._server.connect(), None
        self.counts.slowest_s = max(self.counts.slowest_s, self._clock() - began_s)
        self._count(str(reply.status))
        if reply.status not in (200, 201, 202, 429) or (reply.status == 429 and not reply.retry_after_s):
            self._complain(f"{reply.status}, Retry-After {reply.retry_after_s}: {reply.body[:300]!r}")
        return connection, reply

    def _count(self, what: str) -> None:
        self.counts.statuses[what] = self.counts.statuses.get(what, 0) + 1

    def _complain(self, what: str) -> None:
        self._count("unhelpful")
        if len(self.counts.unhelpful) < 5:
            self.counts.unhelpful.append(what)

    def _write(self, status: int, answer: dict[str, Any], key: str | None) -> None:
        line = {"status_code": status, "key": key, "execution_id": answer.pop("id", None), **answer}
        self._record.write(json.dumps({name: value for name, value in line.items() if value not in (None, "")}) + "\n")

    def _write_batch(self, status: int, answer: dict[str, Any]) -> None:
        self._write(status, {"command_id": answer["command_id"]}, None)
        for child in answer.get("executions", ()):
            self.counts.batched_accepted += 1
            self._write(202 if child["status"] == "received" else status, child, None)


async def _load(plan: Plan, record: TextIO) -> Counts:
    load = Load(plan, record)
    await load.run()
    return load.counts


def main() -> None:
    plan = Plan(**json.loads(sys.stdin.readline()))
    with Path(plan.record).open("w") as record:
        counts = asyncio.run(_load(plan, record))
    sys.stdout.write(json.dumps(asdict(counts)))


if __name__ == "__main__":
    main()
