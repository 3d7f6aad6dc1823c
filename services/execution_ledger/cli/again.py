"""`exledger retry` and `exledger rerun`: once more what has ended, all the same or with changes."""

from __future__ import annotations

from typing import Annotated

import typer

from ..sdk.client.address import DEFAULT_FOLDER, execution_path
from ..sdk.client.waiting import WAIT_S
from .connection import DataDir, connect
from .executions import Which
from .run import (
    AtMostOnce,
    Backoff,
    Experiment,
    Inputs,
    Key,
    Label,
    Mode,
    Plot,
    Priority,
    Property,
    QueueTtl,
    Retries,
    Timeout,
    Train,
    Twin,
    Wait,
    WaitFor,
    Write,
    ask,
    given_inputs,
    input_types,
    options_of,
    policy_of,
)
from .terminal.inputs import parse_inputs, parse_labels
from .terminal.output import AsJson


def retry(
    which: Which,
    key: Key = None,
    wait: Wait = False,
    wait_for: WaitFor = WAIT_S,
    data_dir: DataDir = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Run once more what has failed or was aborted, with all that it was asked for."""
    with connect(data_dir) as ledger:
        ask(ledger, f"{execution_path(which)}/retry", {}, key, wait_for if wait else None, as_json)


def rerun(
    which: Which,
    inputs: Inputs = None,
    newest: Annotated[bool, typer.Option("--newest", help="Of its pipeline's newest version.")] = False,
    from_failed: Annotated[
        bool, typer.Option("--from-failed", help="Reuse what its completed steps gave, and run the others.")
    ] = False,
    twin: Twin = None,
    properties: Property = None,
    mode: Annotated[Mode | None, typer.Option(help="By default: as it was.")] = None,
    experiment: Experiment = None,
    train: Train = None,
    plot: Plot = None,
    write: Write = None,
    label: Label = None,
    priority: Priority = None,
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
    """Run once more what has ended, with changes; all that is left out stays as it was."""
    policy = policy_of(timeout, retries, backoff, queue_ttl, at_most_once)
    with connect(data_dir) as ledger:
        before = ledger.get(execution_path(which))
        types = input_types(ledger, before["pipeline"], None if newest else before["pipeline_version"])
        changes = {
            "inputs": given_inputs(ledger, inputs, types),
            "newest": newest,
            "from_failed": from_failed,
            "labels": parse_labels(label or ()),
            "twin": twin,
            "properties": parse_inputs(properties, {}, "--property") if properties else None,
            "mode": mode,
            "experiment": experiment,
            "options": options_of(train, plot, write),
            "priority": priority,
            "policy": policy or None,
        }
        ask(ledger, f"{execution_path(before['id'])}/rerun", changes, key, wait_for if wait else None, as_json)
