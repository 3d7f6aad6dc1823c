"""`exledger info`: where the ledger is, whether it is well, and how to reach its parts."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from ..sdk.client.address import DEFAULT_FOLDER
from .connection import DataDir, connect
from .terminal.output import AsJson, filled, show_fields, show_json

if TYPE_CHECKING:
    from ..sdk.client.http import Connection


def info(data_dir: DataDir = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """Show where the ledger is and whether it is well."""
    with connect(data_dir) as ledger:
        found = _describe(ledger)
    if as_json:
        show_json(found)
    else:
        show_fields(filled(found))


def _describe(ledger: Connection) -> dict[str, Any]:
    address = ledger.address
    running = address.running
    ready, readiness = ledger.health("/readyz")
    return {
        "url": address.url,
        "ready": ready,
        "problem": None if ready else readiness.get("detail", "what answers there is not a ledger"),
        "position": readiness.get("position"),
        "token": address.token_from,
        "kafka": running.kafka if running else None,
        "psql": psql_line(running.postgres) if running else None,
        "pid": running.pid if running else None,
        "since": running.since if running else None,
        "version": version("execution-ledger"),
        "python": platform.python_version(),
    }


def psql_line(dsn: str) -> str:
    return f'psql "{dsn}"'
