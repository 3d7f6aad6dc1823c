"""Where the ledger is: the one that the environment names, or the `exledger dev` that holds a data folder.

The HTTP client is imported only when a command connects, so that `exledger --help` stays quick.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from ..embedded.folder import DataFolder, Running
from ..errors import Unavailable

if TYPE_CHECKING:
    from .client import Client

DEFAULT_FOLDER = Path(".execution-ledger")

DataDir = Annotated[Path, typer.Option(help="The data folder of the `exledger dev` to talk to.")]


@dataclass(frozen=True)
class Address:
    """`token_from` says in words where the token came from; `running` is what `dev` says of itself, if it is one."""

    url: str
    token: str
    token_from: str
    running: Running | None = None


def find_ledger(folder: Path, environ: Mapping[str, str]) -> Address:
    """Raises Unavailable where nothing runs."""
    if url := environ.get("EXLEDGER_URL"):
        return Address(url.rstrip("/"), environ.get("EXLEDGER_TOKEN", ""), "EXLEDGER_TOKEN")
    data = DataFolder(folder)
    running = data.describe()
    if running is None:
        raise Unavailable(
            f"No ledger runs in {folder}, or it is not ready yet. Start one with: {_dev(folder)}\n"
            "Or name one: by --data-dir the folder of a `dev`, or any by EXLEDGER_URL and EXLEDGER_TOKEN."
        )
    return Address(running.url, data.token(), str(data.path / "token"), running)


def connect(folder: Path) -> Client:
    from .client import Client, open_http

    address = find_ledger(folder, os.environ)
    return Client(address, open_http(address))


def execution_path(which: str) -> str:
    """`which` is an id, a number or a name."""
    return f"/v1/executions/{quote(which, safe='')}"


def pipeline_path(name: str) -> str:
    return f"/v1/pipelines/{quote(name, safe='')}"


def _dev(folder: Path) -> str:
    return "exledger dev" if folder == DEFAULT_FOLDER else f"exledger dev --data-dir {shlex.quote(str(folder))}"
