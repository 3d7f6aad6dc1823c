"""Commands on executions that exist: look at one, abort one, read its history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from ..sdk.client.address import DEFAULT_FOLDER, execution_path
from .connection import DataDir, connect
from .terminal.output import (
    AsJson,
    clock_time,
    date_time,
    duration_ms,
    filled,
    several,
    show_fields,
    show_json,
    show_json_lines,
    show_note,
    show_table,
    size_text,
)
from .terminal.steps import readable_origins, readable_steps, step_told

PAGE_MAX = 100

Reason = Annotated[str | None, typer.Option(help="Why; kept in its history.")]
Which = Annotated[str, typer.Argument(metavar="EXECUTION", help="Its id, number or name.")]


def get(which: Which, data_dir: DataDir = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """Show all that is known of an execution."""
    with connect(data_dir) as ledger:
        record = ledger.get(execution_path(which))
    if as_json:
        show_json(record)
    else:
        lists = (
            _readable_attempts(record["attempts"])
            | readable_steps(record.get("steps", []))
            | readable_origins([*record["attempts"], *record.get("steps", [])])
            | _readable_warnings(record["warnings"])
            | _readable_linked(record.get("linked", []))
            | _readable_artifacts(record.get("artifacts", []))
        )
        readable = (
            _readable_policy(record)
            | {name: several(lines) for name, lines in lists.items()}
            | _readable_checkpoint(record.get("checkpoint"))
            | _readable_failure(record["failure"])
            | _readable_hold(record.get("hold"))
            | _readable_abort(record.get("abort"))
        )
        show_fields(filled(record | readable))


def abort(
    which: Which,
    reason: Reason = None,
    data_dir: DataDir = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Ask an execution to end."""
    with connect(data_dir) as ledger:
        body = {"reason": reason} if reason else {}
        answer = ledger.post(f"{execution_path(which)}/abort", body)
    if as_json:
        show_json(answer)
    else:
        show_fields({"id": answer["id"], "status": answer["status"]})
        if answer["status"] == "abort_requested":
            show_note(f"What runs is told to end, and ended if it does not. What came of it: exledger get {which}")


def events(which: Which, data_dir: DataDir = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """Show the history of an execution."""
    with connect(data_dir) as ledger:
        history = ledger.pages(f"{execution_path(which)}/events", {}, PAGE_MAX)
        if as_json:
            show_json_lines(history)
        else:
            show_table(("TIME", "EVENT", "ATTEMPT", "WHO", "WHY", "SEQUENCE"), [_event_row(each) for each in history])


def _readable_policy(record: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is not set; when it is tried again only while it waits for that."""
    waits = record["status"] == "queued" and record["not_before"]
    return {"policy": filled(record["policy"]), "not_before": date_time(record["not_before"]) if waits else None}


def _readable_attempts(attempts: list[dict[str, Any]]) -> dict[str, str]:
    """One line each: its number, where it is, on which runner, how long it waited and ran, and why it is over."""
    return {"attempts": "\n".join("  ".join(filter(None, _attempt_words(each))) for each in attempts)}


def _attempt_words(attempt: Mapping[str, Any]) -> Iterator[str | None]:
    yield from (str(attempt["attempt"]), attempt["status"], attempt["runner"])
    for word, name in (("waited", "waiting_ms"), ("ran", "execution_ms")):
        if (time := attempt.get(name)) is not None:
            yield f"{word} {duration_ms(time)}"
    yield from (attempt["cause"], attempt["message"])


def _readable_warnings(warnings: list[dict[str, Any]]) -> dict[str, str]:
    return {"warnings": "\n".join(each["message"] for each in warnings)}


def _readable_hold(hold: Mapping[str, Any] | None) -> dict[str, Any]:
    """Who holds it back, since when and why; `held_at` is said by that."""
    if not hold:
        return {"hold": None}
    why = f": {hold['reason']}" if hold["reason"] else ""
    return {"hold": f"by {hold['by']} since {date_time(hold['at'])}{why}", "held_at": None}


def _readable_abort(abort: Mapping[str, Any] | None) -> dict[str, Any]:
    """Who asked for it and why, what came of it, and how long that took."""
    if not abort:
        return {"abort": None}
    why = f": {abort['reason']}" if abort["reason"] else ""
    took = f" after {duration_ms(abort['took_ms'])}" if abort.get("took_ms") is not None else ""
    return {"abort": f"by {abort['requested_by']}{why}; {abort['outcome'] or 'under way'}{took}"}


def _readable_checkpoint(newest: Mapping[str, Any] | None) -> dict[str, Any]:
    if not newest:
        return {}
    return {"checkpoint": f"{date_time(newest['time'])}  attempt {newest['attempt']}  {newest['size']:,} bytes"}


def _readable_linked(linked: list[dict[str, Any]]) -> dict[str, str]:
    """What was made from it, one line each."""
    return {"linked": "\n".join("  ".join((each["link"], each["name"], each["status"])) for each in linked)}


def _readable_artifacts(artifacts: list[dict[str, Any]]) -> dict[str, str]:
    """What it has recorded, one line each."""
    told = (f"{each['kind']}  {each['name']}  {size_text(each['size'])}" for each in artifacts)
    return {"artifacts": "\n".join(told)}


def _readable_failure(failure: Mapping[str, Any] | None) -> dict[str, Any]:
    """With the traceback as the lines that it is."""
    if not failure:
        return {}
    return {"failure": f"{failure['kind']}: {failure['message']}", "traceback": failure.get("traceback")}


def _event_row(event: dict[str, Any]) -> tuple[Any, ...]:
    return (
        clock_time(event["recordedtime"]),
        short_type(event["type"]),
        event["data"].get("attempt"),
        event.get("actor"),
        why(event),
        int(event["sequence"]),
    )


def short_type(event_type: str) -> str:
    """`executionledger.execution.queued.v1` is `execution.queued`."""
    return ".".join(event_type.split(".")[1:-1])


def _recorded(kind: str, data: Mapping[str, Any]) -> str | None:
    """What an attempt has recorded, in words."""
    if kind == "execution.artifact_recorded":
        return f"{data['kind']} {data['name']}, {size_text(data['file']['size'])}"
    if kind == "execution.metric_recorded":
        values = data.get("values")
        return f"{data['name']} = {data['value']:g}" if values is None else f"{data['name']}: {len(values):,} values"
    return None


def why(event: dict[str, Any]) -> str | None:
    """The reason somebody gave, else what the event itself says of its cause."""
    data = event["data"]
    if recorded := _recorded(short_type(event["type"]), data):
        return recorded
    if short_type(event["type"]) == "execution.step_changed":
        return step_told(data)
    cause = (data.get("failure") or data.get("refusal") or {}) or data
    found = (
        event.get("reason") or cause.get("message") or cause.get("detail") or data.get("cause") or data.get("outcome")
    )
    return str(found) if found else None
