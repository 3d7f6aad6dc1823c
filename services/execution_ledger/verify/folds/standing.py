"""How each live execution stands, read from the events a second time: what a ledger has to go by.

Nothing here is decided: each event says what is so from then on.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from execution_ledger.messages.events import (
    Aborted,
    AbortRequested,
    Completed,
    Dispatched,
    DispatcherClaimed,
    Event,
    Fact,
    Failed,
    Held,
    Quarantined,
    Queued,
    Recorded,
    Requeued,
    Started,
    StepChanged,
    Unheld,
)
from execution_ledger.messages.ids import business_key

Said = dict[str, Any]


@dataclass(slots=True)
class Standing:
    """Of one execution; `state` is what goes with its word."""

    first: Queued
    state: Said
    attempt: int = 0
    ordinal: int = 0
    entered: bool = False
    requeued: Counter[str] = field(default_factory=Counter)  # by cause
    steps: dict[str, tuple[str, int]] = field(default_factory=dict)  # status and tries
    business: str | None = None  # its business id, with its pipeline

    @property
    def has_ended(self) -> bool:
        return self.state["word"] in ("aborted", "completed", "failed")

    def follow(self, fact: Fact) -> None:
        match fact:
            case Dispatched():
                self.attempt, self.ordinal = fact.attempt, 0
                self.state = {"word": "dispatched", "runner": fact.runner, "timeout_at": fact.timeout_at}
                self.begin_steps()
            case Started():
                self.ordinal, self.entered = fact.ordinal, True
                if self.state["word"] == "abort_requested":
                    self.state["entered"] = True
                else:
                    self.state = {"word": "started", "runner": fact.runner, "timeout_at": fact.timeout_at}
            case Recorded():
                self.ordinal = fact.ordinal
                if isinstance(fact, StepChanged):
                    self.steps[fact.step] = fact.status, fact.tries
            case Requeued():
                self.requeued[fact.cause] += 1
                self.state = _waiting(fact.not_before, fact.expires_at)
            case Held():
                self.state |= {"held": True, "expires_at": None}
            case Unheld():
                self.state |= {"held": False, "expires_at": fact.expires_at}
            case AbortRequested():
                runner, has_begun = self.state.get("runner", ""), self.state["word"] == "started"
                self.state = {"word": "abort_requested", "runner": runner, "entered": has_begun}
                self.state["grace_until"] = fact.grace_until
            case Aborted() | Completed() | Failed() | Quarantined():
                self.state = {"word": type(fact).__name__.lower()}

    def begin_steps(self) -> None:
        """All are pending."""
        self.steps = dict.fromkeys(self.first.steps or {}, ("pending", 0))


class Standings:
    """Of one shard; `follow` every event in its order. What has ended is there until the next one."""

    def __init__(self) -> None:
        self.claim = 0
        self._live: dict[str, Standing] = {}
        self._business: dict[str, tuple[str, ...]] = {}
        self._newest = ""

    def get(self, execution_id: str) -> Standing | None:
        return self._live.get(execution_id)

    def of_business(self, business: str | None) -> tuple[str, ...]:
        """Those that have not ended, in their order."""
        return self._business.get(business, ()) if business else ()

    def follow(self, event: Event) -> None:
        if (before := self._live.get(self._newest)) and before.has_ended:
            del self._live[self._newest]
        self._newest, fact = event.subject, event.data
        if isinstance(fact, DispatcherClaimed):
            self.claim = fact.claim
        if isinstance(fact, Queued):
            self._begin(event.subject, fact)
        elif event.version is not None and (known := self._live.get(event.subject)):
            known.follow(fact)
            if known.business and known.has_ended:
                self._leave(known.business, event.subject)

    def _begin(self, execution_id: str, fact: Queued) -> None:
        self._live[execution_id] = new = Standing(fact, _waiting(None, fact.expires_at))
        new.begin_steps()
        if fact.business_id is not None:
            new.business = business_key(fact.pipeline.name, fact.business_id)
            self._business[new.business] = (*self.of_business(new.business), execution_id)

    def _leave(self, business: str, execution_id: str) -> None:
        left = tuple(one for one in self._business.pop(business) if one != execution_id)
        if left:
            self._business[business] = left


def _waiting(not_before: int | None, expires_at: int | None) -> Said:
    return {"word": "queued", "not_before": not_before, "expires_at": expires_at, "held": False}
