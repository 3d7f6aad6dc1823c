"""What a dispatcher must know of each execution and place, read from the events a second time. Promise 7.

As for a ledger: its board and its snapshots come from one fold, which cannot find out its own mistakes. Here is what
events say alone; what heartbeats add to it is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from execution_ledger.dispatcher.board import Phase, Token
from execution_ledger.dispatcher.picture import Picture
from execution_ledger.messages.events import (
    Aborted,
    AbortRequested,
    Checkpointed,
    Completed,
    Dispatched,
    Event,
    Fact,
    Failed,
    Held,
    PipelineRegistered,
    Quarantined,
    Queued,
    Requeued,
    Started,
    Unheld,
)
from execution_ledger.messages.ids import business_key

Said = dict[str, Any]
CHARS_MAX = 200  # of what people or runners say


class Place(NamedTuple):
    runner: str
    pipeline: str


_SILENT_ENDS = frozenset({"internal", "released"})  # of which the code may know nothing


class KnownToDispatcher:
    """`follow` every event, each shard's in its order; then `differing` names what this picture has otherwise."""

    def __init__(self) -> None:
        self._lives: dict[str, Said] = {}
        self._places: dict[Token, Place] = {}
        self._on_runner, self._of_pipeline = Counter[str](), Counter[str]()  # how many places
        self._limits: dict[str, tuple[int, int | None]] = {}  # by pipeline: version and limit
        self._execution, self._pipeline, self._moved = "", "", Place("", "")  # what the newest event is about

    def follow(self, event: Event, offset: int) -> None:
        fact = event.data
        self._execution, self._pipeline, self._moved = event.subject, "", Place("", "")
        if isinstance(fact, PipelineRegistered) and fact.definition.inline is not None:
            self._learn(fact.pipeline, fact.version, fact.definition.value().get("limit"))
        if isinstance(fact, Queued):
            self._learn(fact.pipeline.name, fact.pipeline.version, fact.pipeline.limit)
            self._lives[event.subject] = _queued(event, fact, offset)
        elif life := self._lives.get(event.subject):
            self._follow_known(life, event, fact, offset)

    def differing(self, picture: Picture) -> Iterator[str]:
        """After the newest event: only what that event may have changed."""
        found, wanted = picture.board.get(self._execution), self._lives.get(self._execution)
        if (found is None) != (wanted is None):
            yield f"whether {self._execution} is on the board"
        elif wanted is not None:
            different = (name for name, value in wanted.items() if getattr(found, name) != value)
            yield from (f"the {name} of {self._execution}" for name in different)
        if self._pipeline and picture.limits.of(self._pipeline) != self._limits[self._pipeline][1]:
            yield f"the limit of {self._pipeline}"
        runner, pipeline = self._moved
        if picture.slots.used_by(runner) != self._on_runner[runner]:
            yield f"the places on {runner}"
        if picture.slots.running(pipeline) != self._of_pipeline[pipeline]:
            yield f"how many of {pipeline} are under way"

    def _learn(self, pipeline: str, version: int, limit: int | None) -> None:
        self._pipeline = pipeline
        if version >= self._limits.get(pipeline, (0, None))[0]:
            self._limits[pipeline] = version, limit

    def _take(self, token: Token, place: Place) -> None:
        self._places[token] = self._moved = place
        self._count(place, 1)

    def _leave(self, life: Said, event: Event, fact: Fact) -> None:
        """Where nobody but the ledger or a command says that it is over, its code may still run, and has its place."""
        if not life["runner"]:
            return
        token = Token(event.subject, life["attempt"])
        self._moved = self._places.get(token, self._moved)
        if event.commandid is None and not _is_silent(fact) and (place := self._places.pop(token, None)):
            self._count(place, -1)

    def _count(self, place: Place, more: int) -> None:
        self._on_runner[place.runner] += more
        self._of_pipeline[place.pipeline] += more

    def _follow_known(self, life: Said, event: Event, fact: Fact, offset: int) -> None:
        turned: Said = {"since_ms": event.recordedtime}
        match fact:
            case Dispatched():
                life |= turned | {"phase": Phase.DISPATCHED, "attempt": fact.attempt, "runner": fact.runner}
                life["timeout_at"] = fact.timeout_at
                self._take(Token(event.subject, fact.attempt), Place(fact.runner, life["pipeline"]))
            case Started():
                life |= turned | {"phase": Phase.STARTED, "timeout_at": fact.timeout_at}
            case Checkpointed():
                life["checkpoint"] = offset
            case AbortRequested():
                life |= turned | {"aborting": True, "grace_until": fact.grace_until, "abort_reason": event.reason}
            case Held():
                hold = (event.actor or "", event.recordedtime, (event.reason or "")[:CHARS_MAX])
                life |= {"hold": hold, "expires_at": None}
            case Unheld():
                life |= {"hold": None, "expires_at": fact.expires_at}
            case Requeued():
                self._leave(life, event, fact)
                life |= turned | {
                    "phase": Phase.QUEUED,
                    "runner": "",
                    "losses": life["losses"] + (fact.cause == "lost"),
                }
                life |= {"not_before": fact.not_before, "expires_at": fact.expires_at, "cause": _cause(fact)}
            case Quarantined() if life["business"]:  # it stays in the way of others
                self._leave(life, event, fact)
                life |= turned | {"phase": Phase.ENDED, "runner": ""}
            case Completed() | Failed() | Aborted() | Quarantined():
                self._leave(life, event, fact)
                del self._lives[event.subject]


def _queued(event: Event, fact: Queued, offset: int) -> Said:
    business = "" if fact.business_id is None else business_key(fact.pipeline.name, fact.business_id)
    kept = ("pool", "priority", "name", "expires_at")
    return {name: getattr(fact, name) for name in kept} | {
        **dict.fromkeys(("grace_until", "abort_reason", "not_before", "timeout_at", "hold", "checkpoint")),
        "id": event.subject,
        "shard": event.shard,
        "offset": offset,
        "since_ms": event.recordedtime,
        "pipeline": fact.pipeline.name,
        "digest": fact.pipeline.digest,
        "version": fact.pipeline.version,
        "at_most_once": fact.policy.delivery == "at_most_once",
        "losses_max": fact.policy.losses_max,
        "phase": Phase.QUEUED,
        "attempt": 0,
        "runner": "",
        "aborting": False,
        "cause": "",
        "losses": 0,
        "business": business,
    }


def _is_silent(fact: Fact) -> bool:
    if isinstance(fact, Failed):
        return fact.failure.kind in _SILENT_ENDS
    return isinstance(fact, Quarantined) or (isinstance(fact, Requeued) and fact.cause == "released")


def _cause(fact: Requeued) -> str:
    return f"{fact.failure.kind}: {fact.failure.message}"[:CHARS_MAX] if fact.failure else fact.cause
