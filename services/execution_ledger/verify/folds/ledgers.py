"""What a ledger must know of its shard after each event, read from the events a second time. Promise 7.

Its replay, its live state and its snapshots all come from one fold, so a mistake in that one agrees with itself, and
what is decided by it may look well for long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from execution_ledger.domain.execution import Execution
from execution_ledger.ledger.memory import Remembered
from execution_ledger.ledger.shard import (
    ID_AGE_MAX_MS,
    ID_AHEAD_MAX_MS,
    UNBOUNDED,
    Answer,
    ShardState,
    Tracked,
)
from execution_ledger.messages.events import (
    BatchOpened,
    CommandFailed,
    CommandRejected,
    CommandRepeated,
    EntryFact,
    Event,
    Fact,
    PipelineRegistered,
    Queued,
    SubmitJoined,
    TwinRemoved,
)
from execution_ledger.messages.ids import SHARDS_MAX
from execution_ledger.messages.parts import Refusal
from execution_ledger.settings import LedgerSettings

from .standing import Said, Standing, Standings

SPAN_MS = ID_AGE_MAX_MS + ID_AHEAD_MAX_MS  # an id that is older than this is refused for its age

# Fields of an execution: as it was asked for, as it stands, and how often it was queued again for which cause.
_FIRST = ("number", "name", "policy")
_SINCE = ("attempt", "ordinal", "entered", "business")
_COUNTED = (("losses", "lost"), ("failures", "failed"), ("timeouts", "timeout"), ("faults", "infrastructure"))


class Owed:
    """What may not be forgotten yet: all that came within the span, and is among the newest `entries_max`.

    It must be after three spans, or when nothing more came for two.
    """

    def __init__(self, span_ms: int = SPAN_MS, entries_max: int = UNBOUNDED) -> None:
        self._span_ms, self._entries_max = span_ms, entries_max
        self._times: deque[tuple[int, str]] = deque()
        self._values: dict[str, tuple[int, Any]] = {}
        self._may_be: deque[int] = deque()  # when all came that may still be there

    def get(self, key: str) -> Any:
        return self._values.get(key, (0, None))[1]

    def add(self, key: str, value: Any, now_ms: int) -> None:
        self._times.append((now_ms, key))
        self._values[key] = now_ms, value
        if self._may_be and now_ms - self._may_be[-1] >= 2 * self._span_ms:
            self._may_be.clear()
        self._may_be.append(now_ms)
        while now_ms - self._may_be[0] >= 3 * self._span_ms:  # it is forgotten when another one comes
            self._may_be.popleft()

    def differs(self, there: Remembered[Any], now_ms: int, of: Callable[[Any], Any]) -> bool:
        """Whether too much is there, or the newest or the oldest is not: the others go after the oldest."""
        while self._times and (now_ms - self._times[0][0] >= self._span_ms or len(self._times) > self._entries_max):
            since_ms, key = self._times.popleft()
            if self._values[key][0] == since_ms:  # else it came again
                del self._values[key]
        ends = {self._times[0][1], self._times[-1][1]} if self._times else ()
        too_many = len(there.recent) + len(there.older) > len(self._may_be)
        return too_many or any(of(there.get(key)) != self._values[key][1] for key in ends)


class KnownToLedger:
    """`follow` every event of a shard in its order; then `differing` names what this state has otherwise."""

    def __init__(self, settings: LedgerSettings) -> None:
        self._standings = Standings()
        self._shard: Said = {"ordinal": 0}
        self._owed = {"ended": Owed(), "answers": Owed()}
        self._owed |= {name: Owed(settings.keyed_ms, settings.keyed_max) for name in ("keyed", "sources")}
        self._added: list[str] = []  # to which of them the newest event has added: others forget nothing with it
        self._newest: Event | None = None
        self._digest = ""

    def follow(self, event: Event, digest: str) -> None:
        self._newest, self._digest, self._added, fact = event, digest, [], event.data
        self._standings.follow(event)
        self._shard |= {"sequence": event.sequence, "recorded_ms": event.recordedtime, "epoch": event.ownerepoch}
        self._shard |= {"cmd_offset": event.cmdoffset, "rep_offset": event.repoffset}
        self._shard["claim"] = self._standings.claim
        if isinstance(fact, Queued):
            self._shard["ordinal"] = fact.number // SHARDS_MAX
            if fact.origin:
                self._owe("sources", fact.origin.source, fact.origin.ordinal)
        elif (standing := self._standings.get(event.subject)) and standing.has_ended:
            self._owe("ended", event.subject, (event.version, digest))
        if event.commandid is not None and _answers(fact):
            known = self._owed["keyed"].get(event.commandid) or self._owed["answers"].get(event.commandid)
            if not known:
                self._owe(
                    "keyed" if getattr(fact, "keyed", False) else "answers", event.commandid, _answer(event, fact)
                )

    def _owe(self, name: str, key: str, value: Any) -> None:
        assert self._newest
        self._owed[name].add(key, value, self._newest.recordedtime)
        self._added.append(name)

    def differing(self, state: ShardState) -> Iterator[str]:
        """After the newest event: only what that event may have changed, and what must last."""
        if (event := self._newest) is None:
            return
        yield from (name for name, value in self._shard.items() if getattr(state, name) != value)
        if standing := self._standings.get(event.subject):
            yield from self._of_execution(standing, state, event)
        if isinstance(event.data, PipelineRegistered | EntryFact):
            yield from _of_catalog(event, event.data, state)
        for name in self._added:
            kept, of = getattr(state, name), _chain_of if name == "ended" else _itself
            if self._owed[name].differs(kept, event.recordedtime, of):
                yield name

    def _of_execution(self, standing: Standing, state: ShardState, event: Event) -> Iterator[str]:
        tracked = state.tracked(event.subject)
        if tracked is None or (event.subject in state.live) == standing.has_ended:
            yield f"whether {event.subject} lives"
            return
        if event.version is not None and _chain_of(tracked) != (event.version, self._digest):
            yield f"the chain of {event.subject}"
        for name in _differing(standing, tracked.execution):
            yield f"the {name} of {event.subject}"
        if (key := standing.business) and state.business.get(key, ()) != self._standings.of_business(key):
            yield "business"


def _differing(standing: Standing, execution: Execution) -> Iterator[str]:
    for name in _FIRST:
        if getattr(execution, name) != getattr(standing.first, name):
            yield name
    for name in _SINCE:
        if getattr(execution, name) != getattr(standing, name):
            yield name
    for name, cause in _COUNTED:
        if getattr(execution, name) != standing.requeued[cause]:
            yield name
    state = execution.state
    if any(getattr(state, name, None) != value for name, value in standing.state.items()):
        yield "state"
    if {step.name: (step.status, step.tries) for step in execution.steps} != standing.steps:
        yield "steps"


def _itself(value: Any) -> Any:
    return value


def _chain_of(tracked: Tracked | None) -> tuple[int, str] | None:
    return (tracked.version, tracked.previous) if tracked else None


def _of_catalog(event: Event, fact: Any, state: ShardState) -> Iterator[str]:
    entry = state.catalog.get(event.subject)
    digest = None if isinstance(fact, TwinRemoved) else fact.digest
    if entry is None or (entry.version, entry.digest, entry.sequence) != (fact.version, digest, event.sequence):
        yield f"catalog ({event.subject})"


def _answers(fact: Fact) -> bool:
    """A repeat is none, and whose id was refused may ask again under another one."""
    is_refused_id = isinstance(fact, CommandRejected) and fact.refusal.is_no_answer
    return not (isinstance(fact, CommandRepeated) or is_refused_id)


def _answer(event: Event, fact: Any) -> Answer:
    """What a repeat of this command must be told."""
    refused = fact.refusal if isinstance(fact, CommandRejected) else None
    if isinstance(fact, CommandFailed):
        refused = Refusal(code="internal", detail=fact.error)
    is_one = isinstance(fact, Queued | SubmitJoined)
    return Answer(
        event.sequence,
        fact.execution_id if isinstance(fact, SubmitJoined) else event.subject,
        getattr(fact, "body_digest", None),
        refused,
        fact.number if is_one else None,
        fact.name if is_one else None,
        getattr(fact, "version", None),
        fact.versions if isinstance(fact, BatchOpened) else None,
    )
