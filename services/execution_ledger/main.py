"""The composition root: the only place where services meet a real log, a real store and a real clock."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog
from prometheus_client import CollectorRegistry

from .access import AccessToken
from .answering import Answering, listen
from .clock import SystemClock, World, real_world, spawn_task
from .data import Data
from .errors import Unavailable
from .files import Files
from .lifecycle import Service, end_tasks, until_set
from .log.kafka import KafkaLog
from .log.topics import check_topics
from .logs import configure_logs
from .mainloop import run_to_end
from .metrics import answer_page, new_registry
from .objects import Objects, open_objects
from .settings import DispatcherSettings, MetricsSettings, Settings

START_WAIT_S = 30.0  # how long a service waits for Kafka before it gives up and lets its supervisor try again

Builder = Callable[["Around"], Awaitable[Service]]

_log = structlog.get_logger()


@dataclass(frozen=True)
class Around:
    """What the services of one process have around them; `shards` is how many the log has."""

    log: KafkaLog
    world: World
    settings: Settings
    shards: int
    registry: CollectorRegistry


def serve(names: list[str], settings: Settings) -> None:
    """Runs these services in one process until SIGTERM or SIGINT. Raises what they cannot handle."""
    configure_logs("+".join(names), settings.json_logs)
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
        around = Around(log, real_world(), settings, await log.shards(), new_registry())
        services = [await _BUILDERS[name](around) for name in names]
        if "runner" in names:
            services.append(_stillness(settings))
        gc.freeze()  # what was loaded stays: full collections need not walk it again and again
        async with _measured(settings, around.registry):
            await _run(services)


@asynccontextmanager
async def _measured(settings: Settings, registry: CollectorRegistry) -> AsyncIterator[None]:
    """Shows the metrics of this process while its services run, and a moment longer than they do."""
    shown = settings.metrics.enabled
    answering = _answering(settings, settings.metrics, "EXLEDGER__METRICS", "what it measures") if shown else None
    if answering is None:
        yield
        return
    _log.info("metrics", url=f"{answering.address}/metrics")
    task = spawn_task(answering.run(answer_page(registry)), "metrics")
    try:
        yield
    finally:
        await end_tasks([task])


def _answering(
    settings: Settings, at: MetricsSettings | DispatcherSettings, setting: str, what: str
) -> Answering | None:
    """None without a token: then nobody may ask."""
    if settings.gateway.token_sha256:
        return Answering(listen(at.host, at.port, setting), AccessToken(settings.gateway, SystemClock()))
    _log.warning(f"nobody can ask this process {what}: set EXLEDGER__GATEWAY__TOKEN_SHA256")
    return None


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


async def _ledger(around: Around) -> Service:
    from .ledger.keeping import keeper
    from .ledger.service import LedgerService

    settings, objects = around.settings, _objects(around.settings)
    kept = keeper(objects, around.world, settings.snapshots, settings.ledger, around.shards) if objects else None
    return LedgerService(around.log, around.world, settings.ledger, around.shards, around.registry, kept)


async def _dispatcher(around: Around) -> Service:
    from .dispatcher.keeping import keeper
    from .dispatcher.service import DispatcherService

    settings, objects = around.settings, _objects(around.settings)
    answering = _answering(settings, settings.dispatcher, "EXLEDGER__DISPATCHER", "why something waits")
    return DispatcherService(
        around.log,
        around.world,
        settings.dispatcher,
        around.shards,
        settings.kafka.inbox_partitions,
        answering,
        around.registry,
        keeper(objects, around.world, settings.snapshots, around.shards) if objects else None,
    )


def _objects(settings: Settings) -> Objects | None:
    if not settings.objects.url:
        _log.warning("every start reads the whole log: set EXLEDGER__OBJECTS__URL")
    return open_objects(settings.objects)


async def _runner(around: Around) -> Service:
    from .runner.capture import redirect
    from .runner.register import register_over_http
    from .runner.service import RunnerService
    from .runner.through_gateway import GatewayData, GatewayFiles
    from .sdk.pipelines.app import collect, load_app, with_origins

    settings = around.settings
    redirect()  # before anything of the app remembers where it writes
    pipelines = await asyncio.to_thread(with_origins, collect(load_app(settings.runner.app)))
    at = settings.gateway.url, settings.gateway.token.get_secret_value()
    objects, bytes_max = open_objects(settings.objects), settings.files.bytes_max
    return RunnerService(
        around.log,
        around.world,
        settings.runner,
        pipelines,
        register_over_http(*at),
        settings.kafka.inbox_partitions,
        registry=around.registry,
        files=Files(objects, around.world, bytes_max) if objects else GatewayFiles(*at),
        data=Data(objects, bytes_max) if objects else GatewayData(*at),
    )


def _stillness(settings: Settings) -> Service:
    from .runner.stillness import Stillness

    return Stillness(settings.runner)


async def _projector(around: Around) -> Service:
    from .projector.postgres import PostgresStore
    from .projector.service import ProjectorService

    store = PostgresStore(around.settings.postgres.dsn.get_secret_value())
    return ProjectorService(around.log, store, around.world, around.settings.projector, around.registry)


async def _gateway(around: Around) -> Service:
    from .gateway.service import GatewayService

    return GatewayService(around.log, around.world, around.settings, around.registry)


_BUILDERS: dict[str, Builder] = {
    "ledger": _ledger,
    "dispatcher": _dispatcher,
    "runner": _runner,
    "projector": _projector,
    "gateway": _gateway,
}
