"""The steps of one execution, followed as the reader may expect them: written a second time, as `life.py` is."""

from __future__ import annotations

from collections.abc import Iterator

from execution_ledger.messages.events import Queued, StepChanged

BEFORE: dict[str, frozenset[str]] = {
    "started": frozenset({"pending", "started"}),
    "completed": frozenset({"started"}),
    "failed": frozenset({"started"}),
    "skipped": frozenset({"pending"}),
}


class StepLives:
    """`follow` says what is wrong with a fact, and goes on from what it says. Without `queued` nothing is known."""

    def __init__(self, queued: Queued | None = None) -> None:
        self._needs = queued.steps or {} if queued else None
        self._reused = queued.reused or {} if queued else {}
        self._status: dict[str, str] = {}
        self._tries: dict[str, int] = {}

    def begin(self) -> None:
        """An attempt, in which all are pending."""
        self._status.clear()
        self._tries.clear()

    def lose_sight(self) -> None:
        self._needs = None

    def follow(self, fact: StepChanged) -> Iterator[str]:
        if self._needs is None:
            return
        if fact.step not in self._needs:
            yield f"step {fact.step!r} is none of its steps"
            return
        yield from self._wrong_status(fact)
        tries = self._tries.get(fact.step, 0) + (fact.status == "started")
        if fact.tries != tries:
            yield f"step {fact.step!r} is {fact.status} in try {fact.tries}, where {tries} must come"
        self._status[fact.step], self._tries[fact.step] = fact.status, fact.tries

    def _wrong_status(self, fact: StepChanged) -> Iterator[str]:
        before = self._status.get(fact.step, "pending")
        if fact.reused:
            known = self._reused.get(fact.step)
            if before != "pending" or known is None or (known.execution, known.outputs) != (fact.reused, fact.outputs):
                yield f"step {fact.step!r} takes over what it may not, while it is {before}"
        elif before not in BEFORE[fact.status]:
            yield f"step {fact.step!r} is {fact.status} after it was {before}"
        needed = {self._status.get(need, "pending") for need in (self._needs or {})[fact.step]}
        if fact.status == "started" and needed - {"completed"}:
            yield f"step {fact.step!r} is started before all that it needs have completed"
        if fact.status == "skipped" and not needed & {"failed", "skipped"}:
            yield f"step {fact.step!r} is skipped, and nothing that it needs has failed"
