"""`exledger data`: what pipelines and people share, under paths."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import BadRequest
from ..sdk.client.address import DEFAULT_FOLDER
from .connection import DataDir, connect
from .terminal.examples import examples
from .terminal.output import AsJson, show_json_lines, show_note, show_table, size_text

data = typer.Typer(help="Files that pipelines share: put, ls, get, rm.", no_args_is_help=True, rich_markup_mode=None)

Where = Annotated[str, typer.Argument(metavar="PATH", help="Like models/pump-7/scaler.bin")]


@data.command(epilog=examples("data put"))
def put(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="On this machine.")],
    path: Annotated[str | None, typer.Argument(metavar="[PATH]", help="By default the file's name.")] = None,
    data_dir: DataDir = DEFAULT_FOLDER,
) -> None:
    """Send a file, in place of what was there."""
    from ..sdk.client.data import ClientData

    with connect(data_dir) as ledger:
        ClientData(ledger).put(path or file.name, file)
    show_note(f"Put {path or file.name}.")


@data.command(epilog=examples("data ls"))
def ls(
    prefix: Annotated[str, typer.Argument(metavar="[PATH]", help="A path, and all below it.")] = "",
    data_dir: DataDir = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """List what is there."""
    from ..sdk.client.data import ClientData

    with connect(data_dir) as ledger:
        found = ClientData(ledger).list(prefix)
    if as_json:
        show_json_lines({"path": path, "size": size} for path, size in found.items())
        return
    show_table(("PATH", "SIZE"), [(path, size_text(size)) for path, size in found.items()])
    if not found:
        show_note("There is none. To send a file: exledger data put FILE")


@data.command(epilog=examples("data get"))
def get(
    path: Where,
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where it is saved.")] = Path(),
    data_dir: DataDir = DEFAULT_FOLDER,
) -> None:
    """Save what is there."""
    from ..sdk.client.data import ClientData

    with connect(data_dir) as ledger:
        saved = ClientData(ledger).get(path).save(folder)
    show_note(f"Saved {saved}.")


@data.command(epilog=examples("data rm"))
def rm(path: Where, data_dir: DataDir = DEFAULT_FOLDER) -> None:
    """Delete what is there."""
    from ..sdk.client.data import ClientData

    with connect(data_dir) as ledger:
        if not ClientData(ledger).delete(path):
            raise BadRequest(f"There is nothing at {path}. What there is: exledger data ls")
    show_note(f"Deleted {path}.")
