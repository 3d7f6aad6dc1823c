"""What the views hold of jobs: their targets before they are opened, and what has come of them after."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace

from pydantic import TypeAdapter, ValidationError

from execution_ledger.messages.parts import LABELS_MAX, TERMINAL, JobAction, Status
from execution_ledger.messages.steps import Reusable

from ..edge.problems import FieldError, field_errors, invalid, refused
from ..stream.tail import Tail
from ..writes.again import Ended, ended_of, given_by
from ..writes.batches import BREATH
from ..writes.jobs import NEW
from ..writes.requests import TARGETS_MAX, JobRequest
from .finding import Filters
from .reading import Reading
from .references import is_id, number_in
from .views import Row, Views

OPEN_MAX = 100
NAMED_MAX = 5  # in a refusal

_FILTERS = TypeAdapter(Filters)
# Which executions an action can do anything with; what `where` says comes on top.
_SUITABLE: dict[JobAction, frozenset[Status]] = {
    "abort": frozenset({Status.QUEUED, Status.STARTED}),
    "hold": frozenset({Status.QUEUED}),
    "release": frozenset({Status.QUEUED}),
    "retry": frozenset({Status.FAILED, Status.ABORTED}),
    "rerun": TERMINAL,
    "label": frozenset(Status),
}
_NOT_COMPLETED = TERMINAL - {Status.COMPLETED}  # of which something is left to run
_HELD: dict[JobAction, bool] = {"hold": False, "release": True}


class JobsInViews:
    def __init__(self, views: Views, reading: Reading, tail: Tail) -> None:
        self._views = views
        self._reading = reading
        self._tail = tail

    async def find(self, request: JobRequest) -> Sequence[Row]:
        """Whom the request means, at the end of the log. Raises Refused where that is nobody, or too many."""
        await self._reading.include(self._tail.position)
        rows = await (
            self._views.targets(filters_of(request), TARGETS_MAX + 1) if request.where else self._named(request)
        )
        if not rows:
            raise refused("refused", f"There is nothing to {request.action}: no execution is found.", code="no_targets")
        if len(rows) > TARGETS_MAX:
            raise refused(
                "refused",
                f"More than {TARGETS_MAX:,} executions are found, and a job takes no more. Narrow `where`, by "
                "`created_before` or `pipeline` for one, and send one job after the other.",
                code="too_many_targets",
            )
        _check_suitable(request, rows)
        return rows

    async def _named(self, request: JobRequest) -> Sequence[Row]:
        """In the order in which they are named, each once. Raises Refused for names that nobody has."""
        rows = await self._views.named(*_ids_and_numbers(request.executions))
        known = {name: row for row in rows for name in (str(row["id"]), str(row["number"]), row["name"])}
        unknown = [name for name in request.executions if _plain(name) not in known]
        if unknown:
            raise refused("unknown-execution", f"Not known: {_listed(unknown)}. Nothing was done.")
        return list({row["id"]: row for row in (known[_plain(name)] for name in request.executions)}.values())

    # --- for those who complete jobs --------------------------------------------------------------------------------

    async def job(self, job_id: str) -> bytes | None:
        await self._reading.include(self._tail.position)
        return await self._views.job_event(job_id)

    async def asked(self, job_id: str) -> Collection[str]:
        return await self._views.asked_by_job(job_id)

    async def first_events(self, execution_ids: Sequence[str]) -> Mapping[str, Ended]:
        found = {}
        for count, row in enumerate(await self._views.first_events(execution_ids), 1):
            found[str(row["id"])] = ended_of(row)
            if count % BREATH == 0:
                await asyncio.sleep(0)
        return found

    async def given(self, execution_id: str) -> Reusable:
        return given_by(row["event"] for row in await self._views.completed_steps(execution_id))

    async def open_jobs(self) -> Sequence[str]:
        await self._tail.caught_up.wait()
        await self._reading.include(self._tail.position)
        return await self._views.open_jobs(OPEN_MAX)


def filters_of(request: JobRequest) -> Filters:
    """What `where` says, narrowed to what the action can be done with. Raises Refused for what is no filter."""
    if unknown := request.where.keys() - {each.name for each in fields(Filters)}:
        raise invalid(*(FieldError(f"where.{name}", "is no filter of GET /v1/executions") for name in sorted(unknown)))
    try:
        said = _FILTERS.validate_json(json.dumps(request.where), strict=True)
    except ValidationError as error:
        found = field_errors(error.errors(include_input=False, include_url=False))
        raise invalid(*(FieldError(f"where.{each.field}", each.detail) for each in found)) from error
    suitable = _NOT_COMPLETED if request.from_failed else _SUITABLE[request.action]
    statuses = [status for status in Status if status in suitable and status in (said.status or suitable)]
    if not statuses:
        could = " or ".join(sorted(suitable))
        raise invalid(FieldError("where.status", f"leaves nothing to {request.action}: that needs {could}"))
    narrowed = statuses if len(statuses) < len(Status) else None
    held = _HELD.get(request.action, said.held)
    if held != (held if said.held is None else said.held):
        raise invalid(FieldError("where.held", f"leaves nothing to {request.action}"))
    return replace(said, status=narrowed, held=held)


def _check_suitable(request: JobRequest, rows: Sequence[Row]) -> None:
    """What can never be done is refused as a whole; the rest is for the ledger to say, of each execution."""
    if request.action in NEW:
        left_out = [row["name"] for row in rows if row["status"] not in _SUITABLE[request.action]]
        _refuse(left_out, f"cannot be asked for a {request.action}, as they have not ended like that", "not_ended")
    if request.labels:
        new = [key for key, value in request.labels.items() if value is not None]
        full = [row["name"] for row in rows if too_many_labels(row["labels"], new)]
        _refuse(full, f"would have more than {LABELS_MAX} labels", "too_many_labels")


def _refuse(names: Sequence[str], why: str, code: str) -> None:
    if names:
        raise refused("refused", f"{_listed(names)} {why}. Leave them out. Nothing was done.", code=code)


def too_many_labels(labels: Sequence[str], new: Collection[str]) -> bool:
    """`labels` are those that it has, `new` the keys that come."""
    return len({label.partition("=")[0] for label in labels} | set(new)) > LABELS_MAX


def _ids_and_numbers(references: Sequence[str]) -> tuple[list[str], list[int]]:
    ids = [reference.lower() for reference in references if is_id(reference)]
    numbers = [number for reference in references if (number := number_in(reference)) is not None]
    return ids, numbers


def _plain(reference: str) -> str:
    return reference.lower() if is_id(reference) else reference


def _listed(names: Sequence[str]) -> str:
    more = len(names) - NAMED_MAX
    return ", ".join(names[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
