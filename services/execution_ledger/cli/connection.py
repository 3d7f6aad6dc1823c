"""Commands connect to the ledger that the environment names, or to the `exledger dev` that holds a data folder.

The HTTP client is imported only when a command connects, so that `exledger --help` stays quick.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..sdk.client.address import find_ledger

if TYPE_CHECKING:
    from ..sdk.client.http import Connection

DataDir = Annotated[Path, typer.Option(help="The data folder of the `exledger dev` to talk to.")]


def connect(folder: Path) -> Connection:
    from ..sdk.client.http import Connection, open_http

    address = find_ledger(folder, os.environ)
    return Connection(address, open_http(address))
