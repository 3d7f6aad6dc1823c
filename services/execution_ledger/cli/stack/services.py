"""What `exledger dev` starts: a process per service, each told by its environment only what it needs to know."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from ...embedded.process import ChildSpec
from ...errors import BadSettings

# They stop in reverse: first who starts work, last who records it.
ORDER = ("projector", "ledger", "gateway", "dispatcher", "runner")
METRICS_HOST = "127.0.0.1"
DRAIN_S = 3.0  # nobody who pressed Ctrl-C wants to wait longer; what still runs then is given back
LOG_BYTES_MAX = 10_000_000  # a longer log is put aside at the next start
OWN_APP = Path("pipelines.py")
DEMO_APP = "execution_ledger.demo.first_pipelines"


@dataclass(frozen=True)
class Place:
    """Where one ledger lives: addresses of its parts, its secret, its pipelines, its logs."""

    host: str
    port: int
    kafka: str
    dsn: str
    token: str
    app: str
    logs: Path
    objects: Path
    disk_folders: tuple[Path, ...] = ()  # what their disks lack is told, and refuses new executions
    metrics_ports: Mapping[str, int] = field(default_factory=dict)  # by service; a restart keeps its own

    @property
    def url(self) -> str:
        return url_of(self.host, self.port)


def url_of(host: str, port: int) -> str:
    """For clients on this machine, also where the gateway listens on all its addresses."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # compared with, not listened on
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def usable_port(host: str, port: int) -> int:
    """The port itself, or a free one for 0. Raises BadSettings where it cannot be listened on."""
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            return int(probe.getsockname()[1])
    except OSError as error:
        raise BadSettings(
            f"Port {port} of {host} cannot be used: {os.strerror(error.errno or 0)}. "
            "Choose another one with --port, or let --port 0 take a free one."
        ) from error


def free_ports() -> dict[str, int]:
    """For each service one of its own, where it shows its metrics."""
    with ExitStack() as probes:  # all open at once, so that they differ
        found = [probes.enter_context(socket.create_server((METRICS_HOST, 0))) for _ in ORDER]
        return {name: int(probe.getsockname()[1]) for name, probe in zip(ORDER, found, strict=True)}


def metrics_targets(place: Place) -> list[dict[str, Any]]:
    """As Prometheus' file_sd reads it."""
    return [
        {"targets": [f"{METRICS_HOST}:{port}"], "labels": {"service": name}}
        for name, port in place.metrics_ports.items()
    ]


def service_specs(place: Place) -> list[ChildSpec]:
    place.logs.mkdir(mode=0o700, exist_ok=True)
    return [_spec(name, place) for name in ORDER]


def service_environment(name: str, place: Place) -> dict[str, str]:
    """The token goes to the runner only, its digest to all: each answers those who have the token.

    The views' address goes to who reads or writes them.
    """
    common = {
        "EXLEDGER__KAFKA__BOOTSTRAP_SERVERS": place.kafka,
        "EXLEDGER__GATEWAY__URL": place.url,
        "EXLEDGER__GATEWAY__TOKEN_SHA256": hashlib.sha256(place.token.encode()).hexdigest(),
        "EXLEDGER__METRICS__HOST": METRICS_HOST,
        "EXLEDGER__METRICS__PORT": str(place.metrics_ports.get(name, 0)),
        "EXLEDGER__JSON_LOGS": "true",
    }
    dsn = {"EXLEDGER__POSTGRES__DSN": place.dsn}
    objects = {"EXLEDGER__OBJECTS__URL": str(place.objects)}
    own = {
        "projector": dsn,
        "gateway": {
            **dsn,
            **objects,
            "EXLEDGER__GATEWAY__HOST": place.host,
            "EXLEDGER__GATEWAY__PORT": str(place.port),
            "EXLEDGER__GATEWAY__DISK_FOLDERS": json.dumps([str(folder) for folder in place.disk_folders]),
        },
        "ledger": objects,
        "dispatcher": objects,
        "runner": {
            **objects,
            "EXLEDGER__GATEWAY__TOKEN": place.token,
            "EXLEDGER__RUNNER__APP": place.app,
            "EXLEDGER__RUNNER__DRAIN_S": str(DRAIN_S),
        },
    }
    return common | own.get(name, {})


def find_app(app: str | None, folder: Path) -> str:
    """The module that holds the pipelines; whether it can be imported is for the runner to find out.

    Raises BadSettings where there is no such module.
    """
    if app is None:
        return OWN_APP.stem if (folder / OWN_APP).exists() else DEMO_APP
    if app.endswith(".py") and (folder / app).is_file():
        return app
    if PathFinder.find_spec(app.partition(".")[0], [str(folder), *sys.path]) is None:
        raise BadSettings(
            f"There is no Python module or file {app!r}, neither in {folder} nor installed. "
            "--app takes the name of a module, or the path of a .py file."
        )
    return app


def _spec(name: str, place: Place) -> ChildSpec:
    log = place.logs / f"{name}.log"
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        log.replace(log.with_suffix(".log.1"))
    argv = [sys.executable, "-m", "execution_ledger", "serve", name]
    return ChildSpec(name, argv, _inherited(os.environ) | service_environment(name, place), log)


def _inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """glibc's arenas cost more memory than they save time in a process with few threads."""
    return {"MALLOC_ARENA_MAX": "2", **environ}
