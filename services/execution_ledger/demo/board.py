"""The demo's table as a fold over events: what is known of each execution, and the bytes that prove it. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any, Literal, NamedTuple

from execution_ledger.messages.events import digest_of

Json = dict[str, Any]
Status = Literal["queued", "started", "completed", "failed", "aborted"]


@dataclass
class Row:
    """Times are seconds since 1970, as the ledger recorded them; `said` is in words what is known of it by now."""

    id: str
    name: str
    pipeline: str
    twin: str
    ordinal: int
    queued_s: float
    status: Status = "queued"
    started_s: float | None = None
    ended_s: float | None = None
    warnings: int = 0
    said: str = ""
    events: list[bytes] = field(default_factory=list)

    def waited_s(self, now_s: float) -> float:
        return max(0.0, (self.started_s or self.ended_s or now_s) - self.queued_s)

    def ran_s(self, now_s: float) -> float | None:
        """None for one that has not begun."""
        return None if self.started_s is None else max(0.0, (self.ended_s or now_s) - self.started_s)


class Board:
    """Rows in the order of their batch, which is not the order in which they were queued: shards work side by side."""

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}

    @property
    def rows(self) -> list[Row]:
        return sorted(self._rows.values(), key=attrgetter("ordinal"))

    def fold(self, raw: bytes) -> None:
        event = json.loads(raw)
        kind = event["type"].split(".", 1)[1].rpartition(".")[0]
        if kind == "execution.queued":
            self._rows[event["subject"]] = _queued(event)
        if row := self._rows.get(event["subject"]):
            row.events.append(raw)
            _change(row, kind, event)

    def of(self, pipeline: str, status: Status) -> list[Row]:
        return [row for row in self.rows if (row.pipeline, row.status) == (pipeline, status)]

    def ended(self, count: int) -> bool:
        """Whether so many executions are there, and none of them goes on."""
        return len(self._rows) == count and all(row.ended_s is not None for row in self.rows)


def _queued(event: Json) -> Row:
    data = event["data"]
    name, pipeline, ordinal = data["name"], data["pipeline"]["name"], data["origin"]["ordinal"]
    return Row(event["subject"], name, pipeline, data["twin"], ordinal, _seconds(event))


def _change(row: Row, kind: str, event: Json) -> None:
    data = event["data"]
    match kind:
        case "execution.started":
            row.status, row.started_s, row.said = "started", _seconds(event), ""
        case "execution.warned":
            row.warnings, row.said = row.warnings + 1, data["message"]
        case "execution.abort_requested":
            row.said = f"by {event['actor']}: {event['reason']}"
        case "execution.completed":
            row.status, row.ended_s, row.said = "completed", _seconds(event), _summary(data)
        case "execution.failed":
            row.status, row.ended_s, row.said = "failed", _seconds(event), data["failure"]["message"]
        case "execution.aborted":
            row.status, row.ended_s = "aborted", _seconds(event)


def _summary(data: Json) -> str:
    return str(json.loads(data["outputs"]["inline"]).get("summary", ""))


def _seconds(event: Json) -> float:
    return datetime.fromisoformat(event["recordedtime"]).timestamp()


class Link(NamedTuple):
    """An event with the SHA-256 of its bytes, and whether it names that of the event before."""

    event: Json
    digest: str
    holds: bool


def chain(events: Sequence[bytes]) -> list[Link]:
    """All of an execution's events, in order."""
    links: list[Link] = []
    before = None
    for version, raw in enumerate(events, 1):
        event = json.loads(raw)
        holds = (event.get("previous"), event["version"]) == (before, version)
        before = digest_of(raw)
        links.append(Link(event, before, holds))
    return links
