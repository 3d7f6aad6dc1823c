"""`exledger run` on several twins: one batch, and with `--wait` the end of each of its executions."""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from ..sdk.client.waiting import ENDED, undecided, until_end, write_until_decided
from .terminal.output import BROKEN, STILL_RUNNING, bars, duration_ms, left_with, show_json, show_note, show_table

if TYPE_CHECKING:
    from ..sdk.client.http import Connection


def ask_each(
    ledger: Connection,
    request: Mapping[str, Any],
    twins: Sequence[str],
    key: str | None,
    wait_s: float | None,
    as_json: bool,
) -> NoReturn:
    """Asks for the same on each twin, checked together before any of it exists, and shows what came of each."""
    deadline = time.monotonic() + (wait_s or 0.0)
    key = key or f"cli-{uuid.uuid4()}"
    given = {name: value for name, value in request.items() if value is not None}
    body = {"executions": [{**given, "twin": twin} for twin in twins]}
    batch = write_until_decided(ledger, "POST", "/v1/batches", body, key, deadline)
    children = [{**child, "twin": twin} for child, twin in zip(batch.get("executions", ()), twins, strict=False)]
    if wait_s is not None:
        batch_id = batch.get("id")
        left = f"They go on: exledger list --batch {batch_id}  To end them: exledger jobs run abort --batch {batch_id}"
        with left_with(left):
            children = _followed(ledger, children, deadline, quiet=as_json)
    if as_json:
        show_json({**batch, "executions": children} if children else batch)
    else:
        _show(batch, children, key)
    raise typer.Exit(0 if wait_s is None else _exit_code(children))


def _followed(
    ledger: Connection, children: Sequence[dict[str, Any]], deadline: float, *, quiet: bool
) -> list[dict[str, Any]]:
    """The record of each that was queued, once it has ended or as it is at the deadline."""
    followed = []
    with bars(quiet) as tell:
        for child in children:
            if child["status"] in ("received", "rejected"):
                followed.append(child)
            else:
                [record] = deque(until_end(ledger, child["id"], deadline), maxlen=1)
                followed.append(record)
            tell("ended", len(followed), len(children))
    return followed


def _show(batch: Mapping[str, Any], children: Sequence[Mapping[str, Any]], key: str) -> None:
    show_table(("NAME", "STATUS", "TWIN", "TOOK", "WHY"), [_row(child) for child in children])
    if undecided(dict(batch)):
        show_note(f"The ledger has not decided all yet. The same command with `--key {key}` tells what came of it.")
    else:
        show_note(f"They are one batch: exledger list --batch {batch['id']}")
    if any(child["status"] == "failed" for child in children):
        show_note(f"Those that failed once more: exledger jobs run retry --batch {batch['id']} --status failed")


def _row(child: Mapping[str, Any]) -> tuple[Any, ...]:
    refusal, failure = child.get("refusal") or {}, child.get("failure") or {}
    why = refusal.get("detail") or failure.get("message")
    return (child["name"], child["status"], child["twin"], duration_ms(child.get("execution_ms")), why)


def _exit_code(children: Sequence[Mapping[str, Any]]) -> int:
    """What has ended badly counts more than what still runs."""
    statuses = {child["status"] for child in children}
    if statuses & (ENDED | {"rejected"}) - {"completed"}:
        return BROKEN
    return 0 if statuses == {"completed"} else STILL_RUNNING
