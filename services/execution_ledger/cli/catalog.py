"""`exledger templates`, `twins` and `experiments`: what there is to run on, registered from options or from JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BadRequest
from ..sdk.client.address import DEFAULT_FOLDER, entry_path
from ..sdk.client.waiting import RECEIVED
from .connection import DataDir, connect
from .executions import PAGE_MAX
from .pipelines import port_text
from .terminal.examples import examples
from .terminal.inputs import parse_inputs, parse_labels, read_json, split_pairs
from .terminal.output import AsJson, date_time, filled, show_fields, show_json, show_json_lines, show_note, show_table

if TYPE_CHECKING:
    from ..sdk.client.http import Connection

Key = Annotated[str | None, typer.Argument(metavar="KEY", help="Without it, --from holds several, by key.")]
OneKey = Annotated[str, typer.Argument(metavar="KEY")]
From = Annotated[
    typer.FileText | None,
    typer.Option(
        "--from", metavar="FILE", help="JSON as the API takes it, or - for standard input; options go over it."
    ),
]
Name = Annotated[str | None, typer.Option(help="As people call it.")]
Description = Annotated[str | None, typer.Option(help="What it is.")]
Label = Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Can be repeated.")]

templates = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
twins = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
experiments = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@templates.callback()
def _templates() -> None:
    """Kinds of assets, and what each of their twins says of itself."""


@twins.callback()
def _twins() -> None:
    """The assets that executions are about."""


@experiments.callback()
def _experiments() -> None:
    """What executions in experiment mode belong to."""


# --- add ----------------------------------------------------------------------------------------------------------


@templates.command("add", epilog=examples("templates add"))
def add_template(
    key: Key = None,
    properties: Annotated[
        list[str] | None,
        typer.Option("--property", metavar="NAME=TYPE", help="Or NAME={JSON} with more than a type. Can be repeated."),
    ] = None,
    name: Name = None,
    description: Description = None,
    label: Label = None,
    file: From = None,
    data_dir: DataDir = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Register a template, or a new version of it."""
    said = _said(name, description, label) | filled({"properties": _ports(properties or ())})
    with connect(data_dir) as ledger:
        _add(ledger, "template", _given(key, file, said), as_json)


@twins.command("add", epilog=examples("twins add"))
def add_twin(
    key: Key = None,
    template: Annotated[str | None, typer.Option(help="What it is one of.")] = None,
    value: Annotated[
        list[str] | None,
        typer.Option("--value", "-v", metavar="NAME=VALUE", help="Of its template's properties. Can be repeated."),
    ] = None,
    parent: Annotated[str | None, typer.Option(help="The twin that it is a part of.")] = None,
    name: Name = None,
    description: Description = None,
    label: Label = None,
    file: From = None,
    data_dir: DataDir = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Register a twin, or a new version of it: what is left out is gone."""
    with connect(data_dir) as ledger:
        said = filled({"template": template, "parent": parent}) | _said(name, description, label)
        if value:
            said["values"] = parse_inputs(value, _types(ledger, template) if template else {})
        _add(ledger, "twin", _given(key, file, said), as_json)


@experiments.command("add", epilog=examples("experiments add"))
def add_experiment(
    key: Key = None,
    name: Name = None,
    description: Description = None,
    label: Label = None,
    file: From = None,
    data_dir: DataDir = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Register an experiment; its name is its key where none is given."""
    said = _said(name or (key if file is None else None), description, label)
    with connect(data_dir) as ledger:
        _add(ledger, "experiment", _given(key, file, said), as_json)


def _said(name: str | None, description: str | None, label: list[str] | None) -> dict[str, Any]:
    return filled({"name": name, "description": description, "labels": parse_labels(label or ())})


def _given(key: str | None, file: typer.FileText | None, said: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Definitions by key. Raises BadRequest for what is no JSON, and for options that would go to many."""
    read = _read(file) if file else {}
    if key is not None:
        return {key: {**read, **said}}
    if said or not read or not all(isinstance(each, dict) for each in read.values()):
        raise BadRequest("Name one KEY. Only a file of definitions by key, and without other options, needs none.")
    return read


def _read(file: typer.FileText) -> dict[str, Any]:
    try:
        value = read_json(file.read())
    except ValueError as error:
        raise BadRequest(f"{file.name} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadRequest(f"{file.name} holds no object of JSON.")
    return value


def _ports(pairs: Iterable[str]) -> dict[str, Any]:
    return {name: _port(name, text) for name, text in split_pairs(pairs, "--property name=number")}


def _port(name: str, text: str) -> Any:
    if not text.startswith("{"):
        return {"type": text}
    try:
        return read_json(text)
    except ValueError as error:
        raise BadRequest(f"{name} is no JSON: {error}") from error


def _types(ledger: Connection, template: str) -> dict[str, str]:
    properties = ledger.get(entry_path("template", template))["definition"]["properties"]
    return {name: port["type"] for name, port in properties.items()}


def _add(ledger: Connection, noun: str, definitions: Mapping[str, dict[str, Any]], as_json: bool) -> None:
    """One after the other: one that is refused ends it, and those before it stay."""
    for key, definition in definitions.items():
        try:
            answer = ledger.write("PUT", entry_path(noun, key), definition)
        except BadRequest as error:
            if len(definitions) == 1:
                raise
            raise BadRequest(f"{noun} {key}, and so none after it: {error}") from error
        if as_json:
            show_json_lines([answer])
        elif answer.get("status") == RECEIVED:
            show_note(f"{noun} {key}: safe in the log, and not decided yet. The same command tells what came of it.")
        else:
            show_fields({f"{noun} {key}": f"version {answer['version']}"})


# --- remove -------------------------------------------------------------------------------------------------------


@twins.command("remove", epilog=examples("twins remove"))
def remove_twin(key: OneKey, data_dir: DataDir = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """Remove a twin: nothing new runs on it, and all records stay."""
    with connect(data_dir) as ledger:
        answer = ledger.write("DELETE", entry_path("twin", key), None)
    if as_json:
        show_json(answer)
    else:
        show_fields({f"twin {key}": answer.get("status", "removed")})


# --- list and show ------------------------------------------------------------------------------------------------


@templates.command("list", epilog=examples("templates list"))
def list_templates(data_dir: DataDir = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """List the templates."""
    _list(data_dir, "template", ("KEY", "VERSION", "NAME", "PROPERTIES"), as_json)


@twins.command("list", epilog=examples("twins list"))
def list_twins(
    template: Annotated[str | None, typer.Option(help="Only those on it.")] = None,
    data_dir: DataDir = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """List the twins."""
    _list(data_dir, "twin", ("KEY", "VERSION", "NAME", "TEMPLATE", "PARENT", "VALUES"), as_json, template=template)


@experiments.command("list", epilog=examples("experiments list"))
def list_experiments(data_dir: DataDir = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """List the experiments."""
    _list(data_dir, "experiment", ("KEY", "VERSION", "NAME", "DESCRIPTION"), as_json)


@templates.command("show", epilog=examples("templates show"))
def show_template(key: OneKey, data_dir: DataDir = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """Show a template."""
    _show(data_dir, "template", key, as_json)


@twins.command("show", epilog=examples("twins show"))
def show_twin(key: OneKey, data_dir: DataDir = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """Show a twin, with the properties that a run on it gets."""
    _show(data_dir, "twin", key, as_json)


@experiments.command("show", epilog=examples("experiments show"))
def show_experiment(key: OneKey, data_dir: DataDir = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """Show an experiment. Its executions: exledger list --experiment KEY."""
    _show(data_dir, "experiment", key, as_json)


def _list(data_dir: Path, noun: str, columns: tuple[str, ...], as_json: bool, **filters: Any) -> None:
    with connect(data_dir) as ledger:
        found = list(ledger.pages(f"/v1/{noun}s", filters, PAGE_MAX))
    if as_json:
        show_json_lines(found)
        return
    show_table(columns, [[_cell(record, column.lower()) for column in columns] for record in found])
    if not found:
        show_note(f"None is registered. Register one: exledger {noun}s add KEY")


def _cell(record: dict[str, Any], column: str) -> Any:
    definition = record["definition"]
    if column == "properties":
        return ", ".join(port_text(name, port) for name, port in definition["properties"].items())
    return record.get(column, definition.get(column)) or None


def _show(data_dir: Path, noun: str, key: str, as_json: bool) -> None:
    with connect(data_dir) as ledger:
        record = ledger.get(entry_path(noun, key))
    if as_json:
        show_json(record)
        return
    definition = dict(record["definition"])
    if noun == "template":
        definition["properties"] = "\n".join(
            f"  {port_text(name, port)}  {port.get('description') or ''}".rstrip()
            for name, port in definition["properties"].items()
        )
    told = {
        "key": record["key"],
        "version": record["version"],
        **definition,
        "properties": record.get("properties") or definition.get("properties"),
        "registered": date_time(record["registered_at"]),
        "by": record["registered_by"],
        "digest": record["digest"],
    }
    show_fields(filled(told))
