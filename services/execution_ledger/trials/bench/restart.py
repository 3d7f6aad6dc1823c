"""Restart: how long a ledger and a dispatcher take to start, and what memory they hold, after a history of any length.

The real programs, a process each, stopped and started again: first without a snapshot, then with those they wrote.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from execution_ledger.errors import Unavailable
from execution_ledger.log.topics import create_topics
from execution_ledger.settings import KafkaSettings

from .writing import OnProgress, write_history

SHARDS = 4
KEYED_MAX = 50  # so few that even the shortest history fills what a ledger remembers: only the history differs then
READY_S_MAX = 1_200.0  # a long log without a snapshot
QUIET_S = 5.0  # without a further snapshot: they are all written
MB = 1_000_000

READY = {"ledger": ("shard claimed", SHARDS), "dispatcher": ("dispatching", 1)}  # what each says, and how often


@dataclass(frozen=True, slots=True)
class Measured:
    service: str
    events: int
    snapshots: int  # that it began with
    ready_s: float  # from the start of its process
    pss_mb: float
    peak_mb: float


async def measure_restarts(kafka: str, folder: Path, events: int, tell: OnProgress) -> list[Measured]:
    """In topics and a folder of its own."""
    settings = KafkaSettings(bootstrap_servers=kafka, topic_prefix=f"bench{events}.", shards=SHARDS)
    await create_topics(settings)
    await write_history(settings, events, tell)
    environment = {
        "EXLEDGER__KAFKA__BOOTSTRAP_SERVERS": kafka,
        "EXLEDGER__KAFKA__TOPIC_PREFIX": settings.topic_prefix,
        "EXLEDGER__KAFKA__SHARDS": str(SHARDS),
        "EXLEDGER__OBJECTS__URL": str(folder),
        "EXLEDGER__LEDGER__KEYED_MAX": str(KEYED_MAX),
        "EXLEDGER__JSON_LOGS": "true",
    }
    found: list[Measured] = []
    async with _measured("ledger", environment, events, found):
        tell("restarts", 1, 4)
    async with _measured("ledger", environment, events, found):
        tell("restarts", 2, 4)
        async with _measured("dispatcher", environment, events, found):
            tell("restarts", 3, 4)
        async with _measured("dispatcher", environment, events, found):
            tell("restarts", 4, 4)
    return found


@contextlib.asynccontextmanager
async def _measured(
    service: str, environment: Mapping[str, str], events: int, found: list[Measured]
) -> AsyncIterator[None]:
    """Runs it until it is ready and has written its snapshots; stops it at the end."""
    began_s = time.perf_counter()
    argv = (sys.executable, "-m", "execution_ledger", "serve", service)
    process = await asyncio.create_subprocess_exec(*argv, env={**os.environ, **environment}, stderr=-1, stdout=-3)
    assert process.stderr
    try:
        snapshots = await _until_ready(service, process.stderr)
        ready_s = time.perf_counter() - began_s
        memory = _memory(process.pid)
        found.append(Measured(service, events, snapshots, ready_s, memory["Pss"], memory["VmHWM"]))
        if not snapshots:
            await _until_quiet(process.stderr)
        yield
    finally:
        process.terminate()  # says good-bye, so that its successor need not wait for its silence
        await process.wait()


async def _until_ready(service: str, lines: asyncio.StreamReader) -> int:
    """How many snapshots it has read."""
    (says, times), snapshots = READY[service], 0
    try:
        async with asyncio.timeout(READY_S_MAX):
            while times:
                said = (await _next(lines))["event"]
                times -= said == says
                snapshots += said == "snapshot loaded"
            return snapshots
    except TimeoutError:
        raise Unavailable(f"The {service} is not ready after {READY_S_MAX:.0f} s.") from None


async def _until_quiet(lines: asyncio.StreamReader) -> None:
    """All that is due is written one after the other, so a pause means that it is done."""
    with contextlib.suppress(TimeoutError):
        while True:
            async with asyncio.timeout(QUIET_S):
                while (await _next(lines))["event"] != "snapshot written":
                    continue


async def _next(lines: asyncio.StreamReader) -> dict[str, Any]:
    if not (line := await lines.readline()):
        raise Unavailable("The service has ended. Run it by itself to see why: exledger serve ledger")
    said = json.loads(line) if line.startswith(b"{") else {"event": ""}
    return dict(said)


def _memory(pid: int) -> dict[str, float]:
    """What the kernel says, in MB: the share that is really this process's, and the most it ever held."""
    found = {}
    for name in ("smaps_rollup", "status"):
        for line in Path(f"/proc/{pid}/{name}").read_text().splitlines():
            key, _, rest = line.partition(":")
            if key in ("Pss", "VmHWM"):
                found[key] = int(rest.split()[0]) * 1_024 / MB
    return found
