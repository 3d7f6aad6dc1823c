"""Executions to be found: random rows in a real Postgres, and what lists and counts must be, naively worked out."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from random import Random
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from execution_ledger.postgres import Connection

Row = dict[str, Any]

BEGIN = datetime(2026, 11, 20, 23, 59, 50, tzinfo=UTC)
STATUSES = ("queued", "started", "abort_requested", "aborted", "failed", "completed")
MESSAGES = ("no such Pump", "100% full", "a_b", "C:\\temp", "line\nbreak", "nul \x00 here", "\\u0000 in words")
SOUGHT = ("pump", "PUMP-1", "100%", "_", "\\", "team=BL", "train", "nul", "%", "none such", "pump-1 team", "é")
SORTS: dict[str, Callable[[Row], Any]] = {
    "created": lambda row: row["created_at"],
    "started": lambda row: row["started_at"],
    "ended": lambda row: row["ended_at"],
    "updated": lambda row: row["updated_at"],
    "waiting": lambda row: waiting_ms(row),
    "took": lambda row: _ms(row["started_at"], row["ended_at"]),
    "total": lambda row: _ms(row["created_at"], row["ended_at"]),
    "number": lambda row: row["number"],
    "priority": lambda row: row["priority"],
    **{name: itemgetter(name) for name in ("pipeline", "status", "twin", "template", "experiment")},
}
GROUPS: dict[str, Callable[[Row], str | None]] = {
    "status": lambda row: row["status"],
    "pipeline": lambda row: row["pipeline"],
    "twin": lambda row: row["twin"],
    "template": lambda row: row["template"],
    "experiment": lambda row: row["experiment"],
    "mode": lambda row: row["mode"],
    "trigger": lambda row: trigger(row),
    "day": lambda row: f"{row['created_at']:%Y-%m-%d}",
}
FILTERS: dict[str, Callable[[Row, Any], bool]] = {
    "pipeline": lambda row, wanted: row["pipeline"] in wanted,
    "version": lambda row, wanted: row["pipeline_version"] == wanted,
    "status": lambda row, wanted: row["status"] in wanted,
    "twin": lambda row, wanted: row["twin"] == wanted,
    "template": lambda row, wanted: row["template"] == wanted,
    "experiment": lambda row, wanted: row["experiment"] == wanted,
    "mode": lambda row, wanted: row["mode"] == wanted,
    "trigger": lambda row, wanted: trigger(row) == wanted,
    "label": lambda row, wanted: set(wanted) <= set(row["labels"]),
    "created_by": lambda row, wanted: row["created_by"] == wanted,
    "batch": lambda row, wanted: str(row["batch_id"]) == wanted,
    "runner": lambda row, wanted: row["runner"] == wanted,
    "pool": lambda row, wanted: row["pool"] == wanted,
    "failure": lambda row, wanted: _failure(row).get("kind") == wanted,
    "abort": lambda row, wanted: row["abort_outcome"] == wanted,
    "attempts_min": lambda row, wanted: row["attempt"] >= wanted,
    "warnings": lambda row, wanted: str(row["warned"]).lower() == wanted,
    "priority": lambda row, wanted: row["priority"] == wanted,
    "q": lambda row, wanted: any(wanted.lower() in text.lower() for text in texts(row)),
    "created_after": lambda row, wanted: _is(row["created_at"], lambda at: at >= _time(wanted)),
    "created_before": lambda row, wanted: _is(row["created_at"], lambda at: at < _time(wanted)),
    "started_after": lambda row, wanted: _is(row["started_at"], lambda at: at >= _time(wanted)),
    "started_before": lambda row, wanted: _is(row["started_at"], lambda at: at < _time(wanted)),
    "ended_after": lambda row, wanted: _is(row["ended_at"], lambda at: at >= _time(wanted)),
    "ended_before": lambda row, wanted: _is(row["ended_at"], lambda at: at < _time(wanted)),
}


def texts(row: Row) -> list[str]:
    message = _failure(row).get("message", "").replace("\x00", "\ufffd")
    return [row["name"], row["twin"] or "", *row["labels"], message]


def trigger(row: Row) -> str:
    """Rows of before there was a source have none, whatever made them."""
    source: str = row["source"] or ("batch" if row["batch_id"] else "caller")
    return source.partition("/")[0]


def waiting_ms(row: Row) -> int | None:
    return _ms(row["created_at"], row["started_at"] or row["ended_at"])


def why(row: Row) -> str | None:
    """What a list tells of a bad end."""
    if row["status"] == "failed":
        message: str = _failure(row)["message"]
        return message.replace("\x00", "\ufffd").replace("\\u0000", "\\ufffd")
    reason: str | None = row["abort_reason"]
    return reason if row["status"] in ("aborted", "abort_requested") else None


def random_row(random: Random, ordinal: int) -> Row:
    """Few values of each kind, so that many are equal; times that are there, and that are not."""
    status = random.choice(STATUSES)
    created = BEGIN + timedelta(milliseconds=random.randrange(20_000))
    started = created + timedelta(milliseconds=random.randrange(5)) if random.random() < 0.7 else None
    ended = (started or created) + timedelta(milliseconds=random.randrange(5)) if status in STATUSES[3:] else None
    pipeline = random.choice(("train", "load", "Score"))
    kind = random.choice(("user", "lost"))
    failure = {"kind": kind, "message": random.choice(MESSAGES)} if status == "failed" else None
    return {
        "id": UUID(int=random.getrandbits(128)),
        "shard": 1,
        "number": ordinal * 4096 + 1,
        "name": f"{pipeline}-{ordinal}",
        "pipeline": pipeline,
        "pipeline_version": random.randint(1, 2),
        "pipeline_digest": "d",
        "twin": random.choice((None, "pump-1", "Pump-2", "été")),
        "template": random.choice((None, "pump", "valve")),
        "experiment": random.choice((None, "winter", "Summer.26")),
        "source": random.choice((None, "batch/7", "schedule/nightly")),
        "mode": random.choice(("experiment", "production")),
        "options": '{"train": false, "plot": false, "write": true}',
        "labels": sorted(random.sample(("team=blue", "team=red", "run=1", "a=b=c"), random.randrange(3))),
        "priority": random.randint(-1, 1),
        "pool": random.choice(("default", "gpu")),
        "batch_id": random.choice((None, UUID(int=7))),
        "created_by": random.choice((None, "ada", "grace")),
        "created_at": created,
        "version": 1,
        "digest": "d",
        "sequence": ordinal,
        "updated_at": ended or started or created,
        "status": status,
        "attempt": random.randrange(4),
        "losses": 0,
        "runner": random.choice((None, "runner-1", "runner-2")),
        "queued_at": created,
        "started_at": started,
        "ended_at": ended,
        "abort_outcome": random.choice((None, "forced", "too_late")),
        "abort_reason": random.choice((None, "no longer needed")),
        "failure": failure and json.dumps(failure),
        "policy": "{}",
        "warned": random.random() < 0.3,
    }


def random_filters(random: Random) -> dict[str, Any]:
    """Up to three, of everything that can be asked for."""
    moment = (BEGIN + timedelta(milliseconds=random.randrange(20_000))).isoformat()
    choices = {
        "pipeline": random.sample(("train", "load", "Score"), random.randint(1, 2)),
        "version": 1,
        "status": random.sample(STATUSES, random.randint(1, 3)),
        "twin": "pump-1",
        "template": "pump",
        "experiment": "Summer.26",
        "mode": "experiment",
        "trigger": random.choice(("caller", "batch", "schedule")),
        "label": random.choice((["team=blue"], ["team=red", "run=1"], ["a=b=c"])),
        "created_by": "ada",
        "batch": str(UUID(int=7)),
        "runner": "runner-1",
        "pool": "gpu",
        "failure": "lost",
        "abort": "too_late",
        "attempts_min": 2,
        "warnings": random.choice(("true", "false")),
        "priority": -1,
        "q": random.choice(SOUGHT),
        **{f"{name}_{side}": moment for name in ("created", "started", "ended") for side in ("after", "before")},
    }
    return {name: choices[name] for name in random.sample(sorted(choices), random.randrange(4))}


def matching(rows: Iterable[Row], filters: dict[str, Any]) -> list[Row]:
    return [row for row in rows if all(FILTERS[name](row, wanted) for name, wanted in filters.items())]


def in_order(rows: Iterable[Row], sort: str) -> list[Row]:
    """What has no value comes last in both directions."""
    key, descending = SORTS[sort.removeprefix("-")], sort.startswith("-")
    with_value = [row for row in rows if key(row) is not None]
    without = [row for row in rows if key(row) is None]
    with_value.sort(key=lambda row: (key(row), row["id"]), reverse=descending)
    return with_value + sorted(without, key=lambda row: row["id"], reverse=descending)


def percentile(values: Iterable[int | None], share: float) -> float | None:
    """Between two values in proportion."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return None
    place = share * (len(known) - 1)
    low, high = known[math.floor(place)], known[math.ceil(place)]
    return low + (high - low) * (place - math.floor(place))


async def write(connection: Connection, rows: Iterable[Row]) -> None:
    """In place of all that is there, as a projector would have written it."""
    rows = list(rows)
    await connection.execute("TRUNCATE ledger.executions, ledger.live_executions, ledger.warnings")
    columns = [name for name in rows[0] if name != "warned"]
    records = [[row[name] for name in columns] for row in rows]
    await connection.copy_records_to_table("executions", schema_name="ledger", columns=columns, records=records)
    await connection.execute(
        "INSERT INTO ledger.live_executions SELECT id, shard, number, name, pipeline, twin, pool, priority, "
        "created_at, status, attempt, runner, queued_at FROM ledger.executions WHERE ended_at IS NULL"
    )
    warnings = [(row["id"], n, "{}") for row in rows if row["warned"] for n in (1, 2)]
    await connection.copy_records_to_table("warnings", schema_name="ledger", records=warnings)


def _failure(row: Row) -> dict[str, str]:
    told: dict[str, str] = json.loads(row["failure"] or "{}")
    return told


def _ms(begin: datetime | None, end: datetime | None) -> int | None:
    return (end - begin) // timedelta(milliseconds=1) if begin and end else None


def _is(value: datetime | None, holds: Callable[[datetime], bool]) -> bool:
    return value is not None and holds(value)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
