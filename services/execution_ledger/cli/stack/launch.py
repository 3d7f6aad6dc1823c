"""What `exledger dev` does: Kafka and Postgres, then a process per service, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...clock import spawn_task
from ...embedded.folder import DataFolder
from ...embedded.rehearsal import rehearse
from ...embedded.stack import Stack
from ...embedded.supervisor import Supervisor
from ...errors import LedgerError
from ...gateway.edge.disks import lack_of_room
from ...lifecycle import end_tasks
from ...log.topics import create_topics
from ...settings import Settings
from ..serve import read_settings
from ..terminal.output import show_note
from .readiness import registered_pipelines
from .screen import Download, show_ready
from .services import Place, free_ports, metrics_targets, service_specs, url_of, usable_port
from .watch import NotReady, Watch

GRACE_S = 8.0  # per service; more than a runner's drain
READY_S = 90.0  # a slow machine, with a log to replay
POLL_S = 0.05


@dataclass(frozen=True)
class Plan:
    folder: Path
    host: str
    port: int
    app: str
    ephemeral: bool


@dataclass(frozen=True)
class Live:
    """A ledger that accepts executions."""

    place: Place
    folder: Path
    pipelines: list[dict[str, Any]]
    services: Supervisor


async def launch(plan: Plan) -> None:
    """Returns when it was told to stop, and nothing runs any more."""
    await until_told_to_stop(_serve(plan))


async def until_told_to_stop(doing: Coroutine[Any, Any, None]) -> bool:
    """Whether a signal came before the end of what was to be done; a second one ends everything at once."""
    stopping = _told_to_stop()
    work = spawn_task(doing, "work")
    stop = spawn_task(_wait_for(stopping), "stop")
    await asyncio.wait([work, stop], return_when=asyncio.FIRST_COMPLETED)
    if stopping.is_set():
        show_note("Stopping … (once more ends everything at once)")
    await end_tasks([work, stop])
    if not work.cancelled() and (failure := work.exception()):
        raise failure
    return stopping.is_set()


async def _serve(plan: Plan) -> None:
    began = time.monotonic()
    async with live(plan) as ledger:
        show_ready(ledger.place, ledger.folder, ledger.pipelines, time.monotonic() - began)
        async with _rehearsing():
            await ledger.services.wait()


@contextlib.asynccontextmanager
async def live(plan: Plan) -> AsyncIterator[Live]:
    """Kafka, Postgres and all services; nothing of them runs after it. Raises NotReady and other LedgerErrors."""
    with DataFolder(plan.folder).hold(url_of(plan.host, plan.port)) as folder:
        usable_port(plan.host, plan.port)
        show_note(f"Starting in {folder.path} …")
        watch = Watch(folder.path)
        async with _stack(folder.path, plan.ephemeral, watch) as stack:
            place = Place(
                plan.host,
                plan.port,
                stack.bootstrap_servers,
                stack.dsn,
                folder.token(),
                plan.app,
                folder.path / "logs",
                folder.objects,
                stack.data_folders,
                free_ports(),
            )
            settings = read_settings()
            tell_lack_of_room(place, settings)
            await create_topics(settings.kafka.model_copy(update={"bootstrap_servers": place.kafka}))
            specs = service_specs(place)
            watch.follow(specs)
            folder.show_metrics(metrics_targets(place))
            async with Supervisor(specs, watch.tell, GRACE_S) as services:
                pipelines = await _ready(place, watch)
                folder.announce(place.url, place.kafka, place.dsn)
                yield Live(place, folder.path, pipelines, services)


def tell_lack_of_room(place: Place, settings: Settings) -> None:
    """Whoever has no room left may still want to look at what is there."""
    for short in {lack_of_room(folder, settings.gateway.disk_free_bytes_min) for folder in place.disk_folders} - {None}:
        show_note(f"Warning: {short}")


@contextlib.asynccontextmanager
async def _stack(folder: Path, ephemeral: bool, watch: Watch) -> AsyncIterator[Stack]:
    with Download() as download:
        stack = Stack(folder, progress=download.tell, on_event=watch.tell)
        try:
            async with stack:
                download.close()
                yield stack
        finally:
            if ephemeral:
                stack.postgres.remove()  # its data may have to lie elsewhere


@contextlib.asynccontextmanager
async def _rehearsing() -> AsyncIterator[None]:
    """Beside the real work, so that the next start is quicker."""
    rehearsal = spawn_task(_rehearse(), "rehearse")
    try:
        yield
    finally:
        await end_tasks([rehearsal])


async def _rehearse() -> None:
    try:
        await rehearse()
    except LedgerError as error:
        show_note(str(error))


async def _ready(place: Place, watch: Watch) -> list[dict[str, Any]]:
    """The pipelines that the runner has registered, once the ledger accepts executions. Raises NotReady."""
    try:
        async with asyncio.timeout(READY_S):
            while not (pipelines := await asyncio.to_thread(registered_pipelines, place)):
                watch.check()
                await asyncio.sleep(POLL_S)
            return pipelines
    except TimeoutError:
        raise NotReady(
            f"Not ready within {READY_S:.0f} s: a service does not come up, or {place.app} has no @pipeline. "
            f"See the logs in {place.logs}."
        ) from None


def _told_to_stop() -> asyncio.Event:
    stopping = asyncio.Event()

    def told(number: signal.Signals) -> None:
        if stopping.is_set():
            os._exit(128 + number)  # whatever runs dies with us
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # `nohup` is to outlive its terminal
            asyncio.get_running_loop().add_signal_handler(number, told, number)
    return stopping


async def _wait_for(event: asyncio.Event) -> None:
    await event.wait()
