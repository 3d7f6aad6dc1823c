"""What executions are found by, as Python says it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict

from ...errors import BadRequest
from ...messages.parts import Mode

By = Literal["status", "pipeline", "twin", "template", "experiment", "mode", "trigger", "day"]


_MANY = frozenset({"pipeline", "status", "label"})


class Found(TypedDict, total=False):
    """Everything that is given must hold; of several pipelines or statuses any, of several labels ("site=north", or
    {"site": "north"}) all.

    `search` is a part of the name, the twin, a label or the failure's message, in any case. `failure` is its kind,
    `abort` how an abort ended, `attempts_min` at least so many attempts, `runner` that of the newest one, `trigger`
    what asked for it (caller or batch), `linked_to` the id of the one that retries and reruns were made from, `job`
    that of a job which acted on them, or made them; `held`: whether somebody holds them back. Times are aware;
    `…_after` includes the moment itself. `min_position` waits for views that include it: what this client was answered
    is there without it, as long as one gateway answers.
    """

    search: str | None
    pipeline: str | Sequence[str] | None
    version: int | None
    status: str | Sequence[str] | None
    twin: str | None
    template: str | None
    experiment: str | None
    mode: Mode | None
    trigger: str | None
    label: str | Sequence[str] | Mapping[str, str] | None
    created_by: str | None
    batch: str | None
    business_id: str | None
    job: str | None
    held: bool | None
    linked_to: str | None
    runner: str | None
    pool: str | None
    failure: str | None
    abort: str | None
    attempts_min: int | None
    warnings: bool | None
    priority: int | None
    created_after: datetime | None
    created_before: datetime | None
    started_after: datetime | None
    started_before: datetime | None
    ended_after: datetime | None
    ended_before: datetime | None
    min_position: str | None


def query_of(found: Found) -> dict[str, Any]:
    """As the gateway names and writes them. Raises BadRequest for what would find everything."""
    return {("q" if name == "search" else name): _written(name, value) for name, value in found.items()}


def where_of(found: Found) -> dict[str, Any]:
    """As a job takes them: in a body, in which several values are a list."""
    given = {name: value for name, value in query_of(found).items() if value is not None and name != "min_position"}
    return {name: [value] if name in _MANY and isinstance(value, str) else value for name, value in given.items()}


def _written(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if name == "label" and isinstance(value, Mapping):
        value = [f"{key}={label}" for key, label in value.items()]
    if not isinstance(value, Iterable) or isinstance(value, str):
        return value
    several = list(value)
    if not several:
        raise BadRequest(f"`{name}` narrows nothing, for it is empty. Give it a value, or leave it out.")
    return several
