"""The composition root: the only place where services meet a real log, a real store and a real clock."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import structlog

from .clock import World, real_world
from .errors import Unavailable
from .lifecycle import Service, end_tasks, until_set
from .log.kafka import KafkaLog
from .log.topics import check_topics
from .logs import configure_logs
from .mainloop import run_to_end
from .settings import Settings

START_WAIT_S = 30.0  # how long a service waits for Kafka before it gives up and lets its supervisor try again

Builder = Callable[[KafkaLog, World, Settings, int], Awaitable[Service]]

_log = structlog.get_logger()


def serve(names: list[str], settings: Settings) -> None:
    """Runs these services in one process until SIGTERM or SIGINT. Raises what they cannot handle."""
    configure_logs("+".join(names), as_json=settings.json_logs)
    run_to_end(_serve(names, settings), _new_loop)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # not on every platform, and only a matter of speed
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


async def _serve(names: list[str], settings: Settings) -> None:
    async with AsyncExitStack() as stack:
        log = await _open_log(stack, names, settings)
        world = real_world()
        shards = await log.shards()
        services = [await _BUILDERS[name](log, world, settings, shards) for name in names]
        if "runner" in names:
            services.append(_stillness(settings))
        gc.freeze()  # what was loaded stays: full collections need not walk it again and again
        await _run(services)


async def _open_log(stack: AsyncExitStack, names: list[str], settings: Settings) -> KafkaLog:
    """Waits for Kafka, within bounds; topics that are not as they must be are an error at once."""
    client_id = f"exledger-{'-'.join(names)}-{socket.gethostname()}"
    give_up_at = asyncio.get_running_loop().time() + START_WAIT_S
    while True:
        try:
            await check_topics(settings.kafka)
            return await stack.enter_async_context(KafkaLog(settings.kafka, client_id))
        except Unavailable as error:
            if asyncio.get_running_loop().time() > give_up_at:
                raise
            _log.warning("waiting for Kafka", error=str(error))
            await asyncio.sleep(0.5)


async def _run(services: list[Service]) -> None:
    """All until one ends or a signal comes; then the others stop in order. Raises the first failure."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    tasks = [loop.create_task(service.run(), name=service.name) for service in services]
    stopped = loop.create_task(until_set(stop), name="signals")
    try:
        await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for service in services:
            service.stop()
        await asyncio.wait(tasks)
        await end_tasks([stopped])
    for task in tasks:
        task.result()


# --- how each service is made; imported here so that a process loads only what it runs --------------------------


async def _ledger(log: KafkaLog, world: World, settings: Settings, shards: int) -> Service:
    from .ledger.service import LedgerService

    return LedgerService(log, world, settings.ledger, shards)


async def _dispatcher(log: KafkaLog, world: World, settings: Settings, shards: int) -> Service:
    from .answering import Answering, listen
    from .dispatcher.service import DispatcherService

    token_sha256, dispatcher = settings.gateway.token_sha256, settings.dispatcher
    answering = (
        Answering(listen(dispatcher.host, dispatcher.port, "EXLEDGER__DISPATCHER"), token_sha256)
        if token_sha256
        else None
    )
    if answering is None:
        _log.warning("nobody can ask this dispatcher why something waits: set EXLEDGER__GATEWAY__TOKEN_SHA256")
    return DispatcherService(log, world, dispatcher, shards, settings.kafka.inbox_partitions, answering)


async def _runner(log: KafkaLog, world: World, settings: Settings, shards: int) -> Service:
    from .runner.register import register_over_http
    from .runner.service import RunnerService
    from .sdk.pipeline import collect, load_app

    pipelines = collect(load_app(settings.runner.app))
    register = register_over_http(settings.gateway.url, settings.gateway.token.get_secret_value())
    return RunnerService(log, world, settings.runner, pipelines, register, settings.kafka.inbox_partitions)


def _stillness(settings: Settings) -> Service:
    from .runner.stillness import Stillness

    return Stillness(settings.runner)


async def _projector(log: KafkaLog, world: World, settings: Settings, shards: int) -> Service:
    from .projector.postgres import PostgresStore
    from .projector.service import ProjectorService

    store = PostgresStore(settings.postgres.dsn.get_secret_value())
    return ProjectorService(log, store, world, settings.projector)


async def _gateway(log: KafkaLog, world: World, settings: Settings, shards: int) -> Service:
    from .gateway.service import GatewayService

    return GatewayService(log, world, settings)


_BUILDERS: dict[str, Builder] = {
    "ledger": _ledger,
    "dispatcher": _dispatcher,
    "runner": _runner,
    "projector": _projector,
    "gateway": _gateway,
}
