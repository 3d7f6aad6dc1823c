"""The gateway as a service: it takes HTTP in and turns it into commands, and answers from events and views."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import uvicorn
from prometheus_client import CollectorRegistry

from execution_ledger.clock import World
from execution_ledger.errors import BadSettings
from execution_ledger.lifecycle import run_until
from execution_ledger.log.protocol import Log
from execution_ledger.settings import Settings

from .app import create_app
from .edge.connections import Connection
from .gateway import Gateway

DRAIN_S = 5  # how long requests under way may take when it stops
BACKLOG = 1_024

LOG = structlog.get_logger("gateway")


class GatewayService:
    """`ready` is set while it listens and has read the events to their end; it needs no Postgres for that."""

    name = "gateway"

    def __init__(self, log: Log, world: World, settings: Settings, registry: CollectorRegistry | None = None) -> None:
        self.ready = asyncio.Event()
        self.gateway = Gateway(log, world, settings, registry)
        self.port = settings.gateway.port  # the real one once it listens
        self._world = world
        self._host = settings.gateway.host
        self._server = _Server(_config(self.gateway))
        self._failed = asyncio.Event()

    async def run(self) -> None:
        """Ends when the server has answered what was under way; the tail reads on until then."""
        try:
            await run_until(
                self._failed,
                self._world.spawn,
                ("gateway http", self._serve()),
                ("gateway tail", self.gateway.tail.run()),
                ("gateway views", self.gateway.views.run()),
                ("gateway watch", self.gateway.watch()),
                ("gateway jobs", self.gateway.job_work.run()),
                ("gateway ready", self._tell_ready()),
            )
        finally:
            self.ready.clear()

    def stop(self) -> None:
        self._server.should_exit = True
        self.gateway.stop()

    async def _serve(self) -> None:
        with _listen(self._host, self.port) as listener:
            self.port = listener.getsockname()[1]
            LOG.info("the gateway listens", host=self._host, port=self.port)
            try:
                await self._server.serve(sockets=[listener])
            finally:  # uvicorn leaves them open when it is cancelled: the loop would watch a socket that is closed
                for server in getattr(self._server, "servers", ()):
                    server.close()

    async def _tell_ready(self) -> None:
        """Its end would be taken for the service's: so it waits on, for nothing."""
        await self.gateway.tail.caught_up.wait()
        self.ready.set()
        await self._failed.wait()


class _Server(uvicorn.Server):
    """Whoever runs the process handles its signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(gateway: Gateway) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(gateway),
        loop="none",
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
    )


def _listen(host: str, port: int) -> socket.socket:
    """Accepted sockets inherit the option; without it a small answer waits 40 ms for an acknowledgement."""
    try:
        listener = socket.create_server((host, port), backlog=BACKLOG)
    except OSError as error:
        raise BadSettings(
            f"The gateway cannot listen on {host}:{port} ({error}). Free it, or set EXLEDGER__GATEWAY__PORT."
        ) from error
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
