"""`exledger hold`, `release` and `label`: what may be changed of an execution that exists."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..errors import BadRequest
from ..sdk.client.address import DEFAULT_FOLDER, execution_path
from .connection import DataDir, connect
from .executions import Reason, Which
from .terminal.inputs import parse_label_change
from .terminal.output import AsJson, show_fields, show_json


def hold(which: Which, reason: Reason = None, data_dir: DataDir = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """Keep an execution that waits from being started."""
    _change(which, "hold", {}, reason, data_dir, as_json)


def release(which: Which, reason: Reason = None, data_dir: DataDir = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """Let an execution that is held be started."""
    _change(which, "release", {}, reason, data_dir, as_json)


def label(
    which: Which,
    labels: Annotated[list[str], typer.Argument(metavar="KEY=VALUE…", help="Without a value: take the label away.")],
    reason: Reason = None,
    data_dir: DataDir = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Set labels of an execution, or take them away."""
    change = parse_label_change(labels)
    if not change:
        raise BadRequest("Say which labels: key=value, or key= to take one away.")
    _change(which, "label", {"labels": change}, reason, data_dir, as_json)


def _change(which: str, verb: str, body: dict[str, Any], reason: str | None, data_dir: DataDir, as_json: bool) -> None:
    with connect(data_dir) as ledger:
        answer = ledger.post(f"{execution_path(which)}/{verb}", body | ({"reason": reason} if reason else {}))
        if not as_json:
            record = ledger.get(execution_path(answer["id"] or which))
    if as_json:
        show_json(answer)
        return
    held = f"held by {record['hold']['by']}" if record["hold"] else None
    shown = {"name": record["name"], "status": record["status"], "hold": held, "labels": record["labels"] or None}
    show_fields({name: value for name, value in shown.items() if value is not None})
