"""A shard's state, and the one fold that makes it: the same for a replay and for the live ledger.

The state is immutable. What a batch decides is a new state beside the old one, and the old one stays until the
commit has returned: events that were aborted never happened.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from rpds import HashTrieMap

from execution_ledger.domain.business import Ahead
from execution_ledger.domain.catalog import Registration
from execution_ledger.domain.execution import Execution, evolve
from execution_ledger.domain.states import Ended
from execution_ledger.errors import BrokenHistory, TopicContract
from execution_ledger.messages import events
from execution_ledger.messages.events import Event
from execution_ledger.messages.ids import SHARDS_MAX
from execution_ledger.messages.parts import Outcome, PipelineRef, Refusal
from execution_ledger.settings import LedgerSettings

from .memory import Remembered

ID_AGE_MAX_MS = 120_000  # an id may be this old when its Submit is appended …
ID_AHEAD_MAX_MS = 10_000  # … and its maker's clock this far ahead of the log's,
REMEMBER_MS = ID_AGE_MAX_MS + ID_AHEAD_MAX_MS  # so remembering ids for this long finds every repeat
UNBOUNDED = 2**63  # kept by time alone

# One more with every change of what `fold` makes of the same events: a golden test tells. Snapshots of another version
# are not read, so the first start of the new code reads the whole log.
FOLD_VERSION = 1

Fields = dict[str, Any]  # of ShardState that an event changes


@dataclass(frozen=True, slots=True)
class Tracked:
    """An execution and the head of its chain."""

    execution: Execution
    version: int
    previous: str  # sha256 of its newest event


class Answer(NamedTuple):
    """The first answer to a command; many are remembered, so it is as small as it can be."""

    sequence: int
    subject: str
    body_digest: str | None = None
    refused: Refusal | None = None
    number: int | None = None
    name: str | None = None
    version: int | None = None
    versions: dict[str, PipelineRef] | None = None

    def outcome(self) -> Outcome:
        return Outcome(**self._asdict())


@dataclass(frozen=True, slots=True)
class ShardState:
    shard: int
    shards: int
    ended: Remembered[Tracked]
    answers: Remembered[Answer]  # by command id
    keyed: Remembered[Answer]  # those whose client sent a key
    sources: Remembered[int]  # source -> highest ordinal
    live: HashTrieMap[str, Tracked] = field(default_factory=HashTrieMap)
    business: HashTrieMap[str, tuple[str, ...]] = field(default_factory=HashTrieMap)  # live ids, in their order
    catalog: HashTrieMap[str, Registration] = field(default_factory=HashTrieMap)  # by subject
    log_id: str = ""
    sequence: int = 0
    recorded_ms: int = 0
    epoch: int = 0
    cmd_offset: int = -1
    rep_offset: int = -1
    ordinal: int = 0  # of the newest execution number
    claim: int = 0

    def tracked(self, execution_id: str) -> Tracked | None:
        return self.live.get(execution_id) or self.ended.get(execution_id)

    def ahead(self, business: str | None, execution_id: str) -> Ahead | None:
        """The first live execution of a business id, unless that is this one."""
        first = self.business.get(business, (execution_id,))[0] if business else execution_id
        if first == execution_id:
            return None
        execution = self.live[first].execution
        return Ahead(first, execution.number, execution.name)

    def answer(self, command_id: str) -> Answer | None:
        return self.answers.get(command_id) or self.keyed.get(command_id)


def initial(shard: int, shards: int, settings: LedgerSettings) -> ShardState:
    return ShardState(
        shard,
        shards,
        ended=Remembered(REMEMBER_MS, UNBOUNDED),
        answers=Remembered(REMEMBER_MS, UNBOUNDED),
        keyed=Remembered(settings.keyed_ms, settings.keyed_max),
        sources=Remembered(settings.keyed_ms, settings.keyed_max),
    )


def fold(state: ShardState, event: Event, digest: str) -> ShardState:
    """The state after `event`, whose bytes have this sha256. Raises BrokenHistory where it cannot follow."""
    _check_order(state, event)
    return replace(
        state,
        sequence=event.sequence,
        recorded_ms=event.recordedtime,
        epoch=event.ownerepoch,
        cmd_offset=event.cmdoffset,
        rep_offset=event.repoffset,
        **_of_fact(state, event, digest),
        **_of_answer(state, event),
    )


def _check_order(state: ShardState, event: Event) -> None:
    in_order = (
        event.shard == state.shard
        and event.sequence == state.sequence + 1
        and event.ownerepoch >= state.epoch
        and event.recordedtime >= state.recorded_ms
        and event.cmdoffset >= state.cmd_offset
        and event.repoffset >= state.rep_offset
    )
    if not in_order:
        raise BrokenHistory(
            f"Shard {state.shard}: event {event.id} cannot follow sequence {state.sequence} of epoch {state.epoch}. "
            "The history is damaged; do not write to it, keep the topic as it is and look into it."
        )


def _of_fact(state: ShardState, event: Event, digest: str) -> Fields:
    match event.data:
        case events.ShardCreated() as fact:
            return _of_creation(state, fact)
        case events.DispatcherClaimed() as fact:
            return {"claim": fact.claim}
        case events.PipelineRegistered() as fact:
            return _of_entry(state, event, Registration(fact.version, fact.digest, event.sequence))
        case events.EntryRegistered() as fact:
            return _of_entry(state, event, Registration(fact.version, fact.digest, event.sequence, fact.definition))
        case events.TwinRemoved() as fact:
            return _of_entry(state, event, Registration(fact.version, None, event.sequence))
        case _ if event.version is not None:
            return _of_execution(state, event, event.version, digest)
        case _:
            return {}


def _of_creation(state: ShardState, fact: events.ShardCreated) -> Fields:
    if fact.shards != state.shards:
        raise TopicContract(
            f"This log was made with {fact.shards} shards, not {state.shards}. The number is fixed for ever, because "
            "ids and keys name their shard: go back to it, or begin a new log under another topic prefix."
        )
    return {"log_id": fact.log_id}


def _of_entry(state: ShardState, event: Event, registration: Registration) -> Fields:
    return {"catalog": state.catalog.insert(event.subject, registration)}


def _of_execution(state: ShardState, event: Event, version: int, digest: str) -> Fields:
    before = state.tracked(event.subject)
    _check_chain(before, event)
    execution = evolve(before.execution if before else None, event.data)
    tracked = Tracked(execution, version, digest)
    if isinstance(execution.state, Ended):
        ended = state.ended.adding(event.subject, tracked, event.recordedtime)
        left = _left(state, event.subject, execution.business)
        return {"live": state.live.discard(event.subject), "ended": ended, **left}
    live: Fields = {"live": state.live.insert(event.subject, tracked)}
    if execution.business and before is None:
        others = state.business.get(execution.business, ())
        live["business"] = state.business.insert(execution.business, (*others, event.subject))
    return live | _of_queued(state, event, event.data) if isinstance(event.data, events.Queued) else live


def _left(state: ShardState, execution_id: str, business: str | None) -> Fields:
    """Without it, where it had a business id."""
    if business is None:
        return {}
    others = tuple(one for one in state.business.get(business, ()) if one != execution_id)
    return {"business": state.business.insert(business, others) if others else state.business.discard(business)}


def _check_chain(before: Tracked | None, event: Event) -> None:
    version, previous = (before.version, before.previous) if before else (0, None)
    if event.version != version + 1 or event.previous != previous:
        raise BrokenHistory(
            f"Execution {event.subject}: event {event.id} (version {event.version}) does not continue its chain, "
            f"whose head is version {version}."
        )


def _of_queued(state: ShardState, event: Event, fact: events.Queued) -> Fields:
    ordinal: Fields = {"ordinal": max(state.ordinal, fact.number // SHARDS_MAX)}
    if fact.origin is None:
        return ordinal
    return ordinal | {"sources": state.sources.adding(fact.origin.source, fact.origin.ordinal, event.recordedtime)}


def _of_answer(state: ShardState, event: Event) -> Fields:
    """A command's first event is its answer; what follows in the same breath adds nothing to it."""
    if event.commandid is None or _is_no_answer(event.data) or state.answer(event.commandid):
        return {}
    answer = answer_of(event)
    if getattr(event.data, "keyed", False):
        return {"keyed": state.keyed.adding(event.commandid, answer, event.recordedtime)}
    return {"answers": state.answers.adding(event.commandid, answer, event.recordedtime)}


def _is_no_answer(fact: events.Fact) -> bool:
    """A repeat names an answer and is none; a refused id asks for the same command under another one."""
    if isinstance(fact, events.CommandRejected):
        return fact.refusal.is_no_answer
    return isinstance(fact, events.CommandRepeated)


def answer_of(event: Event) -> Answer:
    """What the sender of this event's command was told."""
    fact = event.data
    return Answer(
        sequence=event.sequence,
        subject=fact.execution_id if isinstance(fact, events.SubmitJoined) else event.subject,
        body_digest=getattr(fact, "body_digest", None),
        refused=_refusal(fact),
        number=fact.number if isinstance(fact, events.Queued | events.SubmitJoined) else None,
        name=fact.name if isinstance(fact, events.Queued | events.SubmitJoined) else None,
        version=getattr(fact, "version", None),
        versions=fact.versions if isinstance(fact, events.BatchOpened) else None,
    )


def _refusal(fact: events.Fact) -> Refusal | None:
    if isinstance(fact, events.CommandFailed):
        return Refusal(code="internal", detail=fact.error)
    return fact.refusal if isinstance(fact, events.CommandRejected) else None
