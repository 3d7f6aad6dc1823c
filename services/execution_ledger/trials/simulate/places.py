"""Where executions are sent: no runner gets more than it has slots for, nor what it does not offer, nor anything beside
what has to be alone.

What was lost as often as its policy lets it be, or twice, may have killed its runners. Promise 6.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from execution_ledger.messages.events import (
    Aborted,
    Completed,
    Dispatched,
    Event,
    Fact,
    Failed,
    Quarantined,
    Queued,
    Requeued,
)
from execution_ledger.verify.findings import Breach

SHARED_MAX = 2  # losses


@dataclass
class Place:
    losses_max: int
    losses: int = 0
    runner: str | None = None

    @property
    def alone(self) -> bool:
        return 0 < min(SHARED_MAX, self.losses_max) <= self.losses


def check_places(events: Iterable[tuple[float, Event]], slots: int) -> Iterator[Breach]:
    """A dispatcher gives a place away when it has read that it is free, so the order of commits tells."""
    places: dict[str, Place] = {}
    for _, event in sorted(events, key=lambda each: each[0]):
        place, fact = places.get(event.subject), event.data
        if isinstance(fact, Queued):
            places[event.subject] = Place(fact.policy.losses_max)
        elif place and isinstance(fact, Dispatched):
            there = [each for each in places.values() if each.runner == fact.runner]
            place.runner = fact.runner
            if len(there) >= slots:
                what = f"Attempt {fact.attempt} was sent to {fact.runner}, which had {len(there)} already."
                yield Breach(6, event.shard, event.sequence, event.subject, what)
            elif there and (place.alone or any(each.alone for each in there)):
                what = (
                    f"Attempt {fact.attempt} was sent to {fact.runner}, where one must be alone that was lost before."
                )
                yield Breach(6, event.shard, event.sequence, event.subject, what)
        elif place and isinstance(fact, Requeued | Completed | Failed | Aborted | Quarantined):
            place.runner = None
            if _is_not_offered(fact):
                what = "It was sent to a runner that does not offer its version."
                yield Breach(6, event.shard, event.sequence, event.subject, what)
            place.losses += isinstance(fact, Requeued) and fact.cause == "lost"


def _is_not_offered(fact: Fact) -> bool:
    failure = fact.failure if isinstance(fact, Requeued | Failed) else None
    return failure is not None and failure.kind == "not_offered"
