"""`exledger run`: submit an execution, and follow it to its end if asked to."""

from __future__ import annotations

import time
import uuid
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from ..sdk.client.address import DEFAULT_FOLDER, pipeline_path
from ..sdk.client.waiting import ENDED, RECEIVED, WAIT_S, until_end, write_until_decided
from ..sdk.pipelines.durations import duration_ms
from .connection import DataDir, connect
from .multi_run import ask_each
from .terminal.inputs import parse_inputs, parse_labels
from .terminal.output import (
    STILL_RUNNING,
    AsJson,
    console,
    left_with,
    show_error,
    show_fields,
    show_json,
    show_note,
    size_text,
)

if TYPE_CHECKING:
    from ..sdk.client.http import Connection

DURATION = "DURATION"
ENDED_BADLY = 1


class Mode(StrEnum):
    PRODUCTION = "production"
    EXPERIMENT = "experiment"


class IfLive(StrEnum):
    REFUSE = "refuse"
    FIRST = "first"
    WAIT = "wait"


# What a run and a rerun may say.
Inputs = Annotated[
    list[str] | None, typer.Option("--input", "-i", metavar="NAME=VALUE", help="JSON or text. Can be repeated.")
]
Twin = Annotated[str | None, typer.Option(help="The asset that it is about; registered by: exledger twins add.")]
Property = Annotated[
    list[str] | None,
    typer.Option("--property", "-p", metavar="NAME=VALUE", help="Goes before the twin's value. Can be repeated."),
]
Experiment = Annotated[str | None, typer.Option(metavar="KEY", help="What it belongs to, in mode experiment.")]
Train = Annotated[bool | None, typer.Option("--train/--no-train", help="By default: in mode experiment alone.")]
Plot = Annotated[bool | None, typer.Option("--plot/--no-plot", help="By default: in mode experiment alone.")]
Write = Annotated[bool | None, typer.Option("--write/--no-write", help="By default: in mode production alone.")]
Label = Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Can be repeated.")]
Priority = Annotated[int | None, typer.Option(help="The higher, the earlier.")]
Key = Annotated[str | None, typer.Option(help="Idempotency key: the same one again starts nothing new.")]
Wait = Annotated[bool, typer.Option("--wait", help="Follow it to its end; exit code 1 unless it completes.")]
WaitFor = Annotated[float, typer.Option(min=0.0, help="With --wait: seconds, then exit code 4.")]
Timeout = Annotated[str | None, typer.Option(metavar=DURATION, help="Of an attempt: 90s, 10m, 2h.")]
Retries = Annotated[int | None, typer.Option(min=0, help="After failures of its code.")]
Backoff = Annotated[str | None, typer.Option(metavar=DURATION, help="Before the first retry.")]
QueueTtl = Annotated[str | None, typer.Option(metavar=DURATION, help="How long it may wait for a runner.")]
AtMostOnce = Annotated[bool, typer.Option("--at-most-once", help="Its code is never run twice.")]


def run(
    pipeline: Annotated[str, typer.Argument(metavar="PIPELINE", help="The name of a registered pipeline.")],
    inputs: Inputs = None,
    twins: Annotated[
        list[str] | None,
        typer.Option(
            "--twin",
            help="The asset that it is about; registered by: exledger twins add. Several: a batch, one on each.",
        ),
    ] = None,
    properties: Property = None,
    mode: Annotated[Mode | None, typer.Option(help="By default: production.")] = None,
    experiment: Experiment = None,
    train: Train = None,
    plot: Plot = None,
    write: Write = None,
    label: Label = None,
    priority: Priority = None,
    business_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Unique among the pipeline's live executions.")
    ] = None,
    if_live: Annotated[
        IfLive | None, typer.Option(help="Where one with this business id is live. By default: refuse.")
    ] = None,
    key: Key = None,
    wait: Wait = False,
    wait_for: WaitFor = WAIT_S,
    timeout: Timeout = None,
    retries: Retries = None,
    backoff: Backoff = None,
    queue_ttl: QueueTtl = None,
    at_most_once: AtMostOnce = False,
    data_dir: DataDir = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Run a pipeline."""
    policy = policy_of(timeout, retries, backoff, queue_ttl, at_most_once)
    with connect(data_dir) as ledger:
        request = {
            "pipeline": pipeline,
            "inputs": given_inputs(ledger, inputs, input_types(ledger, pipeline)),
            "labels": parse_labels(label or ()),
            "properties": parse_inputs(properties, {}, "--property") if properties else None,
            "mode": mode,
            "experiment": experiment,
            "options": options_of(train, plot, write),
            "priority": priority,
            "business_id": business_id,
            "if_live": if_live,
            "policy": policy or None,
        }
        wait_s = wait_for if wait else None
        if twins and len(twins) > 1:
            ask_each(ledger, request, twins, key, wait_s, as_json)
        ask(ledger, "/v1/executions", {**request, "twin": twins[0] if twins else None}, key, wait_s, as_json)


def ask(
    ledger: Connection, path: str, request: dict[str, Any], key: str | None, wait_s: float | None, as_json: bool
) -> NoReturn:
    """Asks for an execution and shows what came of it, at its end where `wait_s` says how long to wait for that."""
    deadline = time.monotonic() + (wait_s or 0.0)
    given = {name: value for name, value in request.items() if value is not None}
    key = key or f"cli-{uuid.uuid4()}"
    execution = write_until_decided(ledger, "POST", path, given, key, deadline)
    if wait_s is not None and execution["status"] != RECEIVED:
        execution = _follow(ledger, execution, deadline)
    if as_json:
        show_json(execution)
    else:
        _show(execution, key)
    raise typer.Exit(0 if wait_s is None else _exit_code(execution["status"]))


def options_of(train: bool | None, plot: bool | None, write: bool | None) -> dict[str, bool] | None:
    """What is said of them here; the rest goes by the mode."""
    said = {"train": train, "plot": plot, "write": write}
    return {name: value for name, value in said.items() if value is not None} or None


def policy_of(
    timeout: str | None, retries: int | None, backoff: str | None, queue_ttl: str | None, at_most_once: bool
) -> dict[str, Any]:
    """What is said of it here; the rest is what the pipeline declares."""
    said = {
        "timeout_ms": _milliseconds(timeout),
        "retries": retries,
        "backoff": {"first_ms": _milliseconds(backoff)} if backoff else None,
        "queue_ttl_ms": _milliseconds(queue_ttl),
        "delivery": "at_most_once" if at_most_once else None,
    }
    return {name: value for name, value in said.items() if value is not None}


def _milliseconds(duration: str | None) -> int | None:
    return duration_ms(duration) if duration is not None else None


def given_inputs(ledger: Connection, inputs: list[str] | None, types: dict[str, str]) -> dict[str, Any]:
    """Files are sent first."""
    from ..sdk.client.kept import sent_inputs

    return sent_inputs(ledger, parse_inputs(inputs or (), types), {})


def input_types(ledger: Connection, pipeline: str, version: int | None = None) -> dict[str, str]:
    inputs = ledger.get(pipeline_path(pipeline), version=version)["definition"]["inputs"]
    return {name: port["type"] for name, port in inputs.items()}


def _follow(ledger: Connection, execution: dict[str, Any], deadline: float) -> dict[str, Any]:
    """The record when it has ended, or as it is at the deadline."""
    name, record = execution["name"], execution
    left = f"{name} goes on. To see how far it is: exledger get {name}  To end it: exledger abort {name}"
    with left_with(left), console(stderr=True).status(f"{name} is {execution['status']}") as line:
        for record in until_end(ledger, execution["id"], deadline):
            line.update(f"{record['name']} is {record['status']}")
    return record


def _show(execution: dict[str, Any], key: str) -> None:
    status = execution["status"]
    if status == RECEIVED:
        show_fields({"status": status, "command": execution["command_id"]})
        show_note(f"The ledger has not decided yet. The same command with `--key {key}` tells what came of it.")
        return
    name = execution["name"]
    if status == "completed":
        show_note(f"{name} has completed.")
        show_fields({output: _readable(value) for output, value in execution["outputs"].items()})
        if any(map(_file_text, execution["outputs"].values())):
            show_note(f"To get its files: exledger artifacts {name} --save DIR")
    elif status in ENDED:
        more = f"Its record: exledger get {name}  Its history: exledger events {name}"
        show_error(f"{name} has {_end(execution)}\n{more}")
    else:
        show_fields({field: execution[field] for field in ("name", "number", "id", "status")})
        show_note(f"To follow it: exledger get {name}")


def _readable(value: Any) -> Any:
    return _file_text(value) or ("null" if value is None else value)


def _file_text(value: Any) -> str | None:
    """A file as its name and size; None for anything else."""
    from ..messages.files import references_in

    ref = references_in({"": value}).get("")
    return f"{ref.name} ({size_text(ref.size)}, {ref.media_type})" if ref else None


def _end(execution: dict[str, Any]) -> str:
    return f"failed: {execution['failure']['message']}" if execution["status"] == "failed" else "been aborted."


def _exit_code(status: str) -> int:
    if status == "completed":
        return 0
    return ENDED_BADLY if status in ENDED else STILL_RUNNING
