"""`exledger schemas`: the published contract as files, written anew or compared with this version."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import BadSettings, BrokenHistory
from .terminal.examples import examples
from .terminal.output import show_note

Folder = Annotated[Path, typer.Option("--dir", help="Where the files are.")]
DEFAULT_DIR = Path("schemas")
BY_HAND = "examples"  # below the folder; written once per version, and never generated

schemas = typer.Typer(no_args_is_help=True, help="Write or check the published schemas.", rich_markup_mode=None)


@schemas.command(epilog=examples("schemas write"))
def write(folder: Folder = DEFAULT_DIR) -> None:
    """Write the JSON Schema of every message, and the OpenAPI document."""
    from ..schemas import documents
    from ..schemas import write as write_all

    try:
        write_all(folder)
    except OSError as error:
        raise BadSettings(f"{folder} cannot be written to ({error}). Name another folder with --dir.") from error
    show_note(f"{len(documents())} files are in {folder}.")


@schemas.command(epilog=examples("schemas check"))
def check(folder: Folder = DEFAULT_DIR) -> None:
    """Compare the files with what this version would write; exit code 1 where they differ."""
    wrong = differences(folder)
    if wrong:
        raise BrokenHistory("\n".join([f"{folder} is not what this version writes:", *wrong, _next_step(folder)]))
    show_note(f"All files in {folder} are what this version writes.")


def differences(folder: Path) -> list[str]:
    """A line for each file that is missing, different, or of no meaning here."""
    from ..schemas import documents

    generated = documents()
    there = {str(path.relative_to(folder)): path for path in folder.rglob("*") if _is_generated(path, folder)}
    missing = [f"  {name}: is missing" for name in generated.keys() - there.keys()]
    extra = [f"  {name}: is no longer written" for name in there.keys() - generated.keys()]
    changed = [
        f"  {name}: differs"
        for name in generated.keys() & there.keys()
        if there[name].read_bytes() != generated[name].encode()
    ]
    return sorted([*missing, *extra, *changed])


def _is_generated(path: Path, folder: Path) -> bool:
    return path.is_file() and path.suffix != ".md" and path.relative_to(folder).parts[0] != BY_HAND


def _next_step(folder: Path) -> str:
    told = "A message's published version never changes, a new shape is a new version."
    return f"{told} Then: exledger schemas write --dir {folder}"
