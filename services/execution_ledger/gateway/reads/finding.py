"""What executions are found by: filters, and the orders that a list may have.

A request's parameters are the fields of `Filters`: FastAPI reads their types as they stand here, so this file does
without postponed annotations.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Depends, Query
from pydantic import AwareDatetime, BeforeValidator, ConfigDict, StringConstraints
from pydantic_core import PydanticCustomError

from execution_ledger.messages.ids import PipelineName
from execution_ledger.messages.parts import TERMINAL, AbortOutcome, BusinessId, Count, Mode, Status, Text


def _pair(said: Any) -> Any:
    if isinstance(said, str) and "=" not in said[1:]:
        raise PydanticCustomError("pair", "must be KEY=VALUE, like site=north")
    return said


Label = Annotated[str, BeforeValidator(_pair), StringConstraints(pattern=r"^[^=\x00]{1,63}=[^\x00]{0,255}$")]


def _moment(said: Any) -> Any:
    """A bare number would be taken for seconds since 1970, and a day begins elsewhere at another time."""
    try:
        moment = datetime.fromisoformat(said if "T" in said.upper() else "")
        if moment.tzinfo:
            moment.astimezone(UTC)  # some of the first and the last day there is are beyond it
            return moment
    except (ValueError, TypeError, AttributeError, OverflowError):
        pass
    raise PydanticCustomError("moment", "must be a time with its offset from UTC, like 2026-11-22T06:30:00Z")


def _truth(said: Any) -> Any:
    """Else "on", "y" and "1" would be taken, too. A body says it without quotes."""
    return said if said is True or said is False else {"true": True, "false": False}.get(str(said))


Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]
Truth = Annotated[bool, BeforeValidator(_truth)]
Sought = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")]

Ascending = Literal[
    "created", "started", "ended", "updated", "waiting", "took", "total", "number", "priority",
    "pipeline", "status", "twin", "template", "experiment",
]  # fmt: skip
Descending = Literal[
    "-created", "-started", "-ended", "-updated", "-waiting", "-took", "-total", "-number", "-priority",
    "-pipeline", "-status", "-twin", "-template", "-experiment",
]  # fmt: skip
Sort = Literal[Ascending, Descending]
By = Literal["status", "pipeline", "twin", "template", "experiment", "mode", "trigger", "day"]
TIMES = frozenset({"created", "started", "ended", "updated"})
TEXTS = frozenset({"pipeline", "status", "twin", "template", "experiment"})


@dataclass(frozen=True)
class Filters:
    """What a list is narrowed to; None does not narrow. What `runner` says is of the newest attempt."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # of a job, whose body says them

    pipeline: Annotated[list[PipelineName] | None, Query(max_length=20, description="any of them")] = None
    version: Annotated[Count | None, Query(description="of the pipeline")] = None
    status: Annotated[list[Status] | None, Query(max_length=6, description="any; `queued`: not started yet")] = None
    twin: Text | None = None
    template: Annotated[Text | None, Query(description="that its twin was on")] = None
    experiment: Text | None = None
    mode: Mode | None = None
    trigger: Annotated[Text | None, Query(description="what asked for it: caller, batch")] = None
    label: Annotated[list[Label] | None, Query(max_length=20, description="key=value; all must hold")] = None
    created_by: Text | None = None
    batch: UUID | None = None
    business_id: BusinessId | None = None
    job: Annotated[UUID | None, Query(description="what this job acted on, or made")] = None
    held: Annotated[Truth | None, Query(description="whether it is held back")] = None
    linked_to: Annotated[UUID | None, Query(description="retries and reruns of this one")] = None
    runner: Annotated[Text | None, Query(description="of the newest attempt")] = None
    pool: Text | None = None
    failure: Annotated[Text | None, Query(description="the kind of the failure that ended it")] = None
    abort: Annotated[Literal[AbortOutcome, "too_late"] | None, Query(description="how its abort ended")] = None
    attempts_min: Annotated[Count | None, Query(description="at least so many attempts")] = None
    warnings: Annotated[Truth | None, Query(description="whether it warned")] = None
    priority: Annotated[int | None, Query(ge=-100, le=100)] = None
    created_after: Annotated[Moment | None, Query(description="at or after")] = None
    created_before: Moment | None = None
    started_after: Moment | None = None
    started_before: Moment | None = None
    ended_after: Moment | None = None
    ended_before: Moment | None = None
    q: Annotated[
        Sought | None, Query(description="a part of its name, twin, a label or its failure's message, in any case")
    ] = None

    def given(self) -> dict[str, Any]:
        """The value of each filter that narrows, by the name of its query."""
        asked = {name: value for name, value in vars(self).items() if value is not None}
        if self.status and TERMINAL.isdisjoint(self.status):
            asked["live_status"] = asked.pop("status")
        if self.pipeline and len(self.pipeline) == 1:
            asked["pipeline"] = self.pipeline[0]
        elif self.pipeline:
            asked["any_pipeline"] = asked.pop("pipeline")
        return asked if self.q is None else asked | {"q": _containing(self.q)}


TheFilters = Annotated[Filters, Depends()]


@dataclass(frozen=True)
class Listing:
    """A list in its order: what a cursor belongs to."""

    filters: Filters
    sort: Sort = "-created"

    @property
    def column(self) -> str:
        return self.sort.removeprefix("-")

    @property
    def descending(self) -> bool:
        return self.sort.startswith("-")

    @property
    def digest(self) -> str:
        given = sorted(self.filters.given().items())
        return hashlib.sha256(f"{self.sort} {given!r}".encode()).hexdigest()[:12]


def _containing(text: str) -> str:
    """As a pattern of LIKE, in which `%`, `_` and the backslash mean themselves."""
    return "%" + "".join(f"\\{char}" if char in "%_\\" else char for char in text) + "%"
