"""`exledger dev`: a whole ledger on this machine, with one command and nothing installed by hand."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from ..sdk.client.address import DEFAULT_FOLDER


def dev(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Of the HTTP API; 0 takes a free one.")] = 8080,
    data_dir: Annotated[Path, typer.Option(help="Where everything is kept.")] = DEFAULT_FOLDER,
    app: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE", help="Your pipelines: a module, or a .py file. By default ./pipelines.py, else a demo."
        ),
    ] = None,
    ephemeral: Annotated[bool, typer.Option("--ephemeral", help="Keep nothing: a folder for this run only.")] = False,
    host: Annotated[str, typer.Option(help="The address that the HTTP API listens on.")] = "127.0.0.1",
) -> None:
    """Start a whole ledger here: Kafka, Postgres and all services."""
    from ..embedded.folder import ephemeral_folder
    from .stack.launch import Plan, launch
    from .stack.services import find_app, usable_port

    with ExitStack() as folders:
        module = find_app(app, Path.cwd())
        folder = folders.enter_context(ephemeral_folder()) if ephemeral else data_dir
        asyncio.run(launch(Plan(folder, host, port or usable_port(host, 0), module, ephemeral)))
