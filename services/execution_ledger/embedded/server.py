"""What Kafka and Postgres have in common here: a folder, ports on 127.0.0.1, a start that is proven by an answer.

Ports are chosen freely and remembered in the folder, so that an address stays the same from one start to the next as
long as nobody else has taken it. A server that ends while it starts is tried again on fresh ports.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import socket
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from ..errors import Permanent
from .folder import ADVICE
from .process import GRACE_S, Child, ChildSpec, last_lines, spawn
from .supervisor import Keeper, OnEvent

HOST = "127.0.0.1"
START_TRIES = 3
READY_S = 60.0  # a slow machine, or the recovery of a log after kill -9
RETRY_S = 0.5  # a predecessor that was killed may need a moment to let go of the folder
POLL_S = 0.02
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class StartFailed(Permanent):
    """A server of the embedded stack did not come up."""


class Server(ABC):
    """Subclasses say how to prepare the folder, how to start the server and how to ask whether it answers."""

    name: ClassVar[str]
    ports_count: ClassVar[int]
    grace_s: ClassVar[float] = GRACE_S

    def __init__(self, folder: Path, on_event: OnEvent | None = None) -> None:
        self.folder = folder.resolve()
        self.log_path = self.folder / "server.log"
        self._ports: tuple[int, ...] = ()
        self._on_event = on_event
        self._keeper: Keeper | None = None

    @property
    def pid(self) -> int | None:
        return self._keeper.pid if self._keeper else None

    async def start(self) -> None:
        """Returns when it answers; from then on it is started again if it dies. Raises StartFailed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        await self._prepare()
        child = await self._first_answer()
        self._keeper = Keeper(self._spec(self._ports), self._on_event, self.grace_s)
        await self._keeper.start(child)

    async def stop(self) -> None:
        """Stopping twice is safe."""
        if self._keeper:
            await self._keeper.stop()
        self._keeper = None

    async def answered(self) -> None:
        """Returns when it answers (again). Raises StartFailed."""
        try:
            async with asyncio.timeout(READY_S):
                while not await self._answers():  # noqa: ASYNC110 - the server knows when, and tells nobody
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise self._failed(f"did not answer within {READY_S:.0f} s") from None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @abstractmethod
    async def _prepare(self) -> None:
        """Makes the folder ready for a start; does nothing when it is."""

    @abstractmethod
    def _spec(self, ports: tuple[int, ...]) -> ChildSpec: ...

    @abstractmethod
    async def _answers(self) -> bool:
        """Whether it answers a request of a client, not merely a connection; in bounded time."""

    def _ended_early(self, code: int) -> None:  # noqa: B027 - most have nothing to change
        """Called when it ended while it was starting, before the next try."""

    async def _first_answer(self) -> Child:
        remembered = self.folder / "ports.json"
        for attempt in range(START_TRIES):
            self._ports = (attempt == 0 and _remembered_ports(remembered, self.ports_count)) or free_ports(
                self.ports_count
            )
            child = await spawn(self._spec(self._ports))
            try:
                if await self._is_up(child):
                    remembered.write_text(json.dumps(self._ports))
                    return child
            except BaseException:
                await child.stop(self.grace_s)
                raise
            self._ended_early(await child.wait())
            await asyncio.sleep(RETRY_S)
        raise self._failed(f"ended while it was starting, {START_TRIES} times")

    async def _is_up(self, child: Child) -> bool:
        """False when it has ended instead, as a server does whose port is taken. Raises StartFailed."""
        answer, end = asyncio.ensure_future(self.answered()), asyncio.ensure_future(child.wait())
        try:
            await asyncio.wait([answer, end], return_when=asyncio.FIRST_COMPLETED)
            return answer.done() and answer.result() is None
        finally:
            end.cancel()
            answer.cancel()
            await asyncio.wait([answer])

    def _failed(self, what: str) -> StartFailed:
        log = last_lines(self.log_path)
        advice = next((ADVICE[number] for number in DISK_ERRORS if os.strerror(number) in log), "")
        told = f"The embedded {self.name} in {self.folder} {what}. {advice}".strip()
        return StartFailed(f"{told}\nThe end of its log, {self.log_path}:\n{log}")


async def run_once(spec: ChildSpec, timeout_s: float) -> int:
    """Runs a tool to its end and returns its exit code. Raises TimeoutError."""
    child = await spawn(spec)
    try:
        async with asyncio.timeout(timeout_s):
            return await child.wait()
    finally:
        await child.stop(grace_s=0.0)


async def accepts_connections(port: int) -> bool:
    """A cheap first question, so that no client has to complain about a server that is still starting."""
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


def free_ports(count: int) -> tuple[int, ...]:
    """All held open at once, so that they differ."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return tuple(int(each.getsockname()[1]) for each in sockets)


def _remembered_ports(path: Path, count: int) -> tuple[int, ...]:
    """Empty when there are none, or when one of them is taken."""
    try:
        ports = tuple(int(port) for port in json.loads(path.read_text()))
        with contextlib.ExitStack() as held:
            for port in ports:
                held.enter_context(socket.create_server((HOST, port)))
    except (OSError, ValueError, TypeError, OverflowError):
        return ()
    return ports if len(ports) == count else ()
