"""`exledger pipelines`: what can be run, and with which inputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from ..sdk.client.address import DEFAULT_FOLDER, pipeline_path
from .connection import DataDir, connect
from .executions import PAGE_MAX
from .terminal.output import (
    AsJson,
    date_time,
    filled,
    plain,
    several,
    show_fields,
    show_json,
    show_json_lines,
    show_note,
    show_table,
)
from .terminal.steps import declared_steps

Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="One of them, with all that it declares.")]


def pipelines(
    name: Name = None,
    version: Annotated[int | None, typer.Option(min=1, help="With NAME: by default the newest.")] = None,
    data_dir: DataDir = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """List the registered pipelines, or show one."""
    with connect(data_dir) as ledger:
        if name is not None:
            _show(ledger.get(pipeline_path(name), version=version), as_json)
            return
        found = list(ledger.pages("/v1/pipelines", {}, PAGE_MAX))
    if as_json:
        show_json_lines(found)
        return
    show_table(("NAME", "VERSION", "LIMIT", "INPUTS", "DESCRIPTION"), [_row(each) for each in found])
    if not found:
        show_note("None is registered. A runner registers its own: exledger serve runner --app MODULE")


def _row(record: dict[str, Any]) -> tuple[Any, ...]:
    definition = record["definition"]
    inputs = ", ".join(port_text(name, port) for name, port in definition["inputs"].items())
    return (record["name"], record["version"], definition.get("limit"), inputs, definition.get("description"))


def _show(record: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(record)
        return
    definition = record["definition"]
    declared = {
        "inputs": _lines(definition["inputs"]),
        "outputs": "whatever it returns" if definition["any_outputs"] else _lines(definition["outputs"]),
    }
    steps = definition.get("steps") or ()
    told = {
        "name": record["name"],
        "version": record["version"],
        "description": definition.get("description"),
        "labels": definition.get("labels"),
        "template": definition.get("template"),
        "limit": definition.get("limit"),
        "policy": filled(definition.get("policy") or {}),
        "steps": several(declared_steps(steps)),
        "registered": date_time(record["registered_at"]),
        "by": record["registered_by"],
        "digest": record["digest"],
    }
    show_fields(filled(told | declared))


def port_text(name: str, port: Mapping[str, Any]) -> str:
    """`days: number 1… = 7`; what has no default has to be given."""
    default = "" if port.get("required", True) else f" = {_default(port.get('default'))}"
    return f"{name}: {port['type']}{_narrowed(port)}{default}"


def _default(value: Any) -> str:
    """Texts bare, as they are typed, but for the empty one."""
    return plain(value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False))


def _narrowed(port: Mapping[str, Any]) -> str:
    """What else its values have to be."""
    parts = [f"of {port['items']}"] if port.get("items") else []
    if port.get("min") is not None or port.get("max") is not None:
        parts.append("…".join("" if port.get(name) is None else f"{port[name]:g}" for name in ("min", "max")))
    if port.get("enum"):
        parts.append(" | ".join(plain(value) for value in port["enum"]))
    return "".join(f" {part}" for part in parts)


def _lines(ports: Mapping[str, Mapping[str, Any]]) -> str:
    return several(
        "\n".join(f"{port_text(name, port)}  {port.get('description') or ''}" for name, port in ports.items())
    )
