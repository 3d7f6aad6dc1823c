"""What must go on during an overload, measured as a caller sees it: aborts, reads; and the memory of every process."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from e2e.program import Dev, descendants, memory_mb
from torture.traffic import Connection, Reply, Server

LOOK_S = 1.0
POLL_S = 0.1
_SERVICE = re.compile(r" serve (\w+) ?$")


@dataclass
class Latencies:
    """Of one kind of request. `wrong` holds the first answers that were not as they must be."""

    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def at(self, share: float) -> float:
        """By nearest rank: every number was really measured."""
        ordered = sorted(self.seconds)
        return ordered[math.ceil(share * len(ordered)) - 1] if ordered else math.nan


async def probe(server: Server, requests: Sequence[bytes], every_s: float, end_s: float) -> Latencies:
    """Sends one after the other, at a fixed pace, until all are sent or the time is over; each must get a 200."""
    clock = asyncio.get_running_loop().time
    found = Latencies()
    connection: Connection | None = None
    for request in requests:
        began_s = clock()
        if began_s >= end_s:
            break
        try:
            connection = connection or await server.connect()
            reply = await connection.ask(request)
        except (TimeoutError, ConnectionError) as error:
            found.wrong.append(type(error).__name__)
            connection = None
            continue
        found.seconds.append(clock() - began_s)
        if reply.status != 200:
            found.wrong.append(f"{reply.status}: {reply.body[:300]!r}")
        await asyncio.sleep(began_s + every_s - clock())
    return found


async def sample_memory(dev: Dev, end_s: float) -> dict[str, list[float]]:
    """Proportional, in MB, by name of the process and second."""
    clock = asyncio.get_running_loop().time
    samples: dict[str, list[float]] = {}
    while clock() < end_s:
        for name, pids in _processes(dev).items():
            samples.setdefault(name, []).append(await asyncio.to_thread(_memory_mb, pids))
        await asyncio.sleep(LOOK_S)
    return samples


async def until(ask: Callable[[], Awaitable[bool]], within_s: float) -> float:
    """How long it took until the answer was yes. Raises TimeoutError."""
    clock = asyncio.get_running_loop().time
    began_s = clock()
    async with asyncio.timeout(within_s):
        while not await ask():  # noqa: ASYNC110  # another process has to be asked
            await asyncio.sleep(POLL_S)
    return clock() - began_s


async def gauges(server: Server, names: Sequence[str]) -> list[float]:
    """All values of these metrics of the gateway."""
    reply = await ask_once(server, server.get("/metrics"))
    lines = reply.body.decode().splitlines()
    return [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(tuple(names))]


async def is_empty(server: Server, path: str) -> bool:
    reply = await ask_once(server, server.get(path))
    return reply.status == 200 and not json.loads(reply.body)["items"]


async def ask_once(server: Server, request: bytes) -> Reply:
    connection = await server.connect()
    try:
        return await connection.ask(request)
    finally:
        connection.close()


def _processes(dev: Dev) -> dict[str, list[int]]:
    named: dict[str, list[int]] = {}
    for pid, command in descendants(dev.pid).items():
        service = _SERVICE.search(command)
        name = service[1] if service else "kafka" if "kafka.Kafka" in command else "postgres"
        named.setdefault(name, []).append(pid)
    return named


def _memory_mb(pids: list[int]) -> float:
    """A process that has just ended, as a backend of Postgres may, counts for nothing."""
    try:
        return memory_mb(pids)
    except (FileNotFoundError, ProcessLookupError):
        return math.nan
