"""A long history, made in bulk: one execution is really decided, and then stamped again and again under new numbers.

Deciding two million events would take five minutes; a test has it that what is stamped is what would be decided, byte
for byte. Time in it goes by as if a steady number of executions ran on each shard, so a ledger forgets as it should.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from execution_ledger.ledger.deciding import decide_batch
from execution_ledger.ledger.recording import Cause, Cursor, Decided, append
from execution_ledger.ledger.shard import initial
from execution_ledger.log.protocol import Lane, Outgoing, Record, Topic
from execution_ledger.messages import events
from execution_ledger.messages.base import Message, rfc3339
from execution_ledger.messages.commands import ClaimDispatch, Dispatch, Submit
from execution_ledger.messages.events import Fact, digest_of, event_id
from execution_ledger.messages.ids import make_id, name_of, number_of
from execution_ledger.messages.parts import Options, PipelineRef, Policy
from execution_ledger.messages.payload import json_payload
from execution_ledger.messages.reports import ReportCompleted, ReportStarted
from execution_ledger.settings import LedgerSettings

BEGAN_MS = 1_700_000_000_000
PER_SECOND = 2  # executions that run on each shard
EVENTS_EACH = 4  # queued, dispatched, started, completed
KEYED_EVERY = 10  # one in so many has a client's key, and is remembered for a day
OPEN = 200  # executions of each shard that still wait at the end
BATCH = 150  # executions written at once

_SAMPLE = 1_234_567_891  # a number that stands out, and that bears no client's key
_NOWHERE = -1  # the lanes stay empty, so no event may say that anything was read of them
_PIPELINE = PipelineRef(name="train", version=1, digest="train-v1", limit=50)
_OPTIONS = Options(train=True, plot=False, write=True)
_DISPATCHER, _RUNNER, _CLAIM = "dispatcher-bench", "runner-bench", 1


@dataclass(frozen=True, slots=True)
class Wanted:
    log_id: str
    shard: int
    shards: int
    events: int  # of this shard, roughly

    @property
    def executions(self) -> int:
        return max(1, self.events // EVENTS_EACH) if self.shard else 0


def batches(wanted: Wanted) -> Iterator[list[Outgoing]]:
    """The shard's events from the first on, in pieces that fit a transaction."""
    first = beginning(wanted)
    yield first.outgoing
    stamps = _Stamps(first) if wanted.shard else None
    for start in range(0, wanted.executions, BATCH):
        assert stamps
        numbers = range(start, min(start + BATCH, wanted.executions))
        yield [event for number in numbers for event in stamps.execution(number, number < wanted.executions - OPEN)]


def beginning(wanted: Wanted) -> Decided:
    """The shard is made, and a dispatcher has claimed it."""
    facts: list[Fact] = [
        events.ShardCreated(log_id=wanted.log_id, shards=wanted.shards),
        events.ShardClaimed(owner="bench"),
    ]
    state = initial(wanted.shard, wanted.shards, LedgerSettings())
    began = append(Decided(state, Cursor(_NOWHERE, _NOWHERE)), f"shard/{wanted.shard}", facts, Cause(BEGAN_MS))
    claim = ClaimDispatch(
        command_id="c" * 32, actor=_DISPATCHER, dispatcher=_DISPATCHER, claim=_CLAIM if wanted.shard else None
    )
    claimed = decide(began, BEGAN_MS, [claim])
    return replace(claimed, outgoing=[*began.outgoing, *claimed.outgoing])


def decide(decided: Decided, now_ms: int, messages: Sequence[Message]) -> Decided:
    records = [_record(decided.state.shard, now_ms, message) for message in messages]
    return decide_batch(decided.state, decided.cursor, records)


def messages(shard: int, number: int, ends: bool) -> list[Message]:
    execution_id = make_id(time_ms(number), shard, number)
    submit = Submit(
        command_id=_command_id(0, number),
        actor="bench",
        execution_id=execution_id,
        pipeline=_PIPELINE,
        inputs=json_payload({"rate": 0.25, "asset": "pump-7"}),
        options=_OPTIONS,
        policy=Policy(),
        body_digest="b" * 64,
        keyed=number % KEYED_EVERY == 0,
    )
    dispatch = Dispatch(
        command_id=_command_id(1, number),
        actor=_DISPATCHER,
        claim=_CLAIM,
        execution_id=execution_id,
        attempt=1,
        runner=_RUNNER,
    )
    said: dict[str, Any] = {
        "execution_id": execution_id,
        "attempt": 1,
        "runner": _RUNNER,
        "time": time_ms(number),
    }
    completed = ReportCompleted(**said, ordinal=2, outputs=json_payload({"score": 0.5}))
    return [submit, dispatch, ReportStarted(**said, ordinal=1), completed] if ends else [submit]


def time_ms(number: int) -> int:
    return BEGAN_MS + number * 1_000 // PER_SECOND


class _Stamps:
    """One execution's events, with holes where its own numbers were."""

    def __init__(self, first: Decided) -> None:
        self._shard, self._sequence = first.state.shard, first.state.sequence
        sample = decide(first, time_ms(_SAMPLE), messages(self._shard, _SAMPLE, ends=True)).outgoing
        self._templates: list[str] = []
        for at, outgoing in enumerate(sample):
            previous = digest_of(sample[at - 1].value) if at else ""
            holes = self._own(_SAMPLE, 1, self._sequence + 1 + at, at, previous)
            self._templates.append(_with_holes(outgoing.value.decode(), holes))

    def execution(self, number: int, ends: bool) -> Iterator[Outgoing]:
        previous = ""
        for at, template in enumerate(self._templates if ends else self._templates[:1]):
            self._sequence += 1
            own = self._own(number, number + 1, self._sequence, at, previous)
            raw = (template % own).encode()
            if at == 0 and number % KEYED_EVERY == 0:
                raw = raw.replace(b'"keyed":false', b'"keyed":true')
            previous = digest_of(raw)
            yield Outgoing(own["subject"].encode(), raw)

    def _own(self, number: int, ordinal: int, sequence: int, at: int, previous: str) -> dict[str, str]:
        """Each as it stands in JSON, quotes and all, so that nothing else is taken for it."""
        number_now = number_of(ordinal, self._shard)
        return {
            "subject": make_id(time_ms(number), self._shard, number),
            "id": f'"{event_id(self._shard, sequence)}"',
            "sequence": f'"{sequence:020d}"',
            "time": f'"{rfc3339(time_ms(number))}"',
            "previous": f'"{previous}"',
            "commandid": f'"{_command_id(at, number)}"',
            "number": f'"number":{number_now},',
            "name": f'"{name_of(_PIPELINE.name, number_now)}"',
        }


def _with_holes(text: str, values: dict[str, str]) -> str:
    text = text.replace("%", "%%")
    for name, value in values.items():
        if value != '""':
            text = text.replace(value, f"%({name})s")
    return text


def _record(shard: int, now_ms: int, message: Message) -> Record:
    topic = Topic.REPORTS if isinstance(message, ReportStarted | ReportCompleted) else Topic.COMMANDS
    return Record(Lane(topic, shard), _NOWHERE, now_ms, b"", message.model_dump_json(exclude_none=True).encode())


def _command_id(what: int, number: int) -> str:
    return f"{what:08x}{number:024x}"
