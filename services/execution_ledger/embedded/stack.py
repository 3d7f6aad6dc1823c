"""Kafka and Postgres of one data folder, started side by side."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from types import TracebackType

from .jars import Progress
from .kafka import EmbeddedKafka
from .postgres import EmbeddedPostgres
from .supervisor import OnEvent


class Stack:
    """`async with Stack(folder) as stack: stack.bootstrap_servers, stack.dsn`.

    `progress` hears of the first download of the broker's jars (done, total); `cache` is where they are kept.
    """

    def __init__(
        self,
        folder: Path,
        *,
        progress: Progress | None = None,
        on_event: OnEvent | None = None,
        cache: Path | None = None,
    ) -> None:
        self.kafka = EmbeddedKafka(folder / "kafka", cache=cache, progress=progress, on_event=on_event)
        self.postgres = EmbeddedPostgres(folder / "postgres", on_event=on_event)

    @property
    def bootstrap_servers(self) -> str:
        return self.kafka.bootstrap_servers

    @property
    def dsn(self) -> str:
        return self.postgres.dsn

    @property
    def data_folders(self) -> tuple[Path, ...]:
        """Where the log and the views lie; not always on one disk."""
        return self.kafka.folder, self.postgres.home()

    def pids(self) -> dict[str, int]:
        return {server.name: server.pid for server in (self.kafka, self.postgres) if server.pid is not None}

    async def __aenter__(self) -> Stack:
        starts = [asyncio.create_task(server.start()) for server in (self.kafka, self.postgres)]
        try:
            await asyncio.gather(*starts)
        except BaseException:
            for start in starts:
                start.cancel()
            await asyncio.wait(starts)
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Both side by side: neither needs the other. Stopping twice is safe."""
        async with contextlib.AsyncExitStack() as stops:
            stops.push_async_callback(self.kafka.stop)
            await self.postgres.stop()
