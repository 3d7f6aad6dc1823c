"""Opening Postgres, for the projector that writes views and the gateway that reads them.

Every wait on the server is bounded here, so that a frozen process cannot block its successor: statements, locks, open
transactions and silent connections all end by themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import TYPE_CHECKING

import asyncpg

from .errors import Unavailable

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]

CONNECT_S = 5.0
ANSWER_S = 40.0  # above every bound of the server below: its answer says more than our giving up

# Where a query fails with one of these, the server is away, starting, stopping, full or failing over.
AWAY = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what asyncpg says when a connection dies between two calls
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.LockNotAvailableError,
)

# Definite answers: Postgres says that this cannot be, so asking again cannot help.
REFUSALS = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.SyntaxOrAccessError)

_SERVER_SETTINGS = {
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "10s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "30000",
    "timezone": "UTC",
    "jit": "off",  # short statements: compiling them takes longer than running them
}


@contextmanager
def reachable(what: str) -> Iterator[None]:
    """Turns the many errors of a server that is away into Unavailable; `what` is what was to be done."""
    try:
        yield
    except AWAY as error:
        reason = str(error) or type(error).__name__
        raise Unavailable(f"Postgres did not {what} ({reason}). It is tried again until Postgres is back.") from error


async def connect(dsn: str, application_name: str, **server_settings: str) -> Connection:
    """One connection; `server_settings` replace the bounds above. Raises Unavailable."""
    settings = {**_SERVER_SETTINGS, "application_name": application_name, **server_settings}
    with reachable("accept a connection"):
        return await asyncpg.connect(dsn, timeout=CONNECT_S, command_timeout=ANSWER_S, server_settings=settings)


async def open_pool(dsn: str, application_name: str, size_max: int, **server_settings: str) -> Pool:
    """A pool that opens connections when they are first needed; else as `connect`. Raises Unavailable."""
    with reachable("accept a connection"):
        return await asyncpg.create_pool(
            dsn,
            min_size=0,
            max_size=size_max,
            timeout=CONNECT_S,
            command_timeout=ANSWER_S,
            server_settings={**_SERVER_SETTINGS, "application_name": application_name, **server_settings},
        )


def queries(package: str, file: str, suffix: str = "") -> dict[str, str]:
    """The named queries of an SQL file inside a package: each begins with a line `-- name: its_name`.

    `suffix` as of `beside`.
    """
    text = beside(files(package).joinpath(file).read_text(), suffix)
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
    return {name: query.strip() for name, query in zip(parts[1::2], parts[2::2], strict=True)}


def beside(sql: str, suffix: str) -> str:
    """The same SQL for schemas beside those in use, whose names end with this, and a channel of notifications too."""
    return re.sub(r"\bledger(_v1|_positions)?\b", rf"\g<0>{suffix}", sql) if suffix else sql
