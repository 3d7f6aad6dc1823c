"""`exledger config`: every setting, the variable that sets it, and where its value comes from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from .serve import read_settings
from .terminal.examples import examples
from .terminal.output import AsJson, show_json_lines, show_note, show_table

if TYPE_CHECKING:
    from ..settings import Settings

PREFIX = "EXLEDGER__"
OF_COMMANDS = ("EXLEDGER_URL", "EXLEDGER_TOKEN")  # which ledger the other commands talk to
REDACTED = "********"

config = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


class Row(NamedTuple):
    variable: str
    value: Any
    source: str


@config.callback()
def _commands() -> None:
    """See the settings."""


@config.command(epilog=examples("config show"))
def show(as_json: AsJson = False) -> None:
    """Show every setting as a service started from here would read it.

    Secrets are not shown. `exledger dev` gives its own services some of these itself.
    """
    found = [*rows(read_settings(), os.environ), *_of_commands(os.environ)]
    if as_json:
        show_json_lines(row._asdict() for row in found)
    else:
        show_table(("VARIABLE", "VALUE", "FROM"), found)
    for name in unknown({row.variable for row in found}, os.environ):
        show_note(f"{name} is set, and is no setting. Is it misspelt?")


def unknown(variables: Iterable[str], environ: Iterable[str]) -> list[str]:
    """What looks like a setting and is none; a whole section may be given as JSON."""
    known = {variable.rpartition("__")[0] for variable in variables} | set(variables)
    return sorted(name for name in environ if name.upper().startswith(PREFIX) and name.upper() not in known)


def rows(settings: Settings, environ: Mapping[str, str]) -> Iterator[Row]:
    given = {name.upper() for name in environ}
    for name, value in settings:
        section = (PREFIX + name).upper()
        for variable, plain_value in _flat(section, value):
            source = "environment" if {section, variable} & given else "default"
            yield Row(variable, plain_value, source)


def _flat(variable: str, value: Any) -> Iterator[tuple[str, Any]]:
    from pydantic import BaseModel, SecretStr
    from pydantic_core import to_jsonable_python

    if isinstance(value, BaseModel):
        for name, inner in value:
            yield from _flat(f"{variable}__{name.upper()}", inner)
    elif isinstance(value, SecretStr):
        yield variable, _redacted(value.get_secret_value())
    else:
        yield variable, _redacted(value) if "TOKEN" in variable else to_jsonable_python(value)


def _redacted(secret: str) -> str:
    return REDACTED if secret else ""


def _of_commands(environ: Mapping[str, str]) -> Iterator[Row]:
    for name in OF_COMMANDS:
        value = environ.get(name, "")
        yield Row(name, _redacted(value) if "TOKEN" in name else value, "environment" if value else "default")
