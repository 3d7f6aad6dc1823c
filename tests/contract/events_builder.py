"""Histories for tests of the views: facts in, recorded events out, chained and numbered as a ledger would."""

from __future__ import annotations

from typing import Any

from execution_ledger.messages.events import (
    Event,
    Fact,
    Queued,
    digest_of,
    encode_event,
    event_id,
    event_source,
    make_event,
)
from execution_ledger.messages.ids import make_id, name_of, number_of
from execution_ledger.messages.parts import Options, PipelineRef, Policy
from execution_ledger.messages.payload import json_payload
from execution_ledger.projector.rows import Recorded

BEGIN_MS = 1_790_000_000_000
ACTOR = "ada"


class History:
    """One shard's log. Each `take` hands over what was added since, as one transaction with its marker."""

    def __init__(self, shard: int = 1, log_id: str = "log-1") -> None:
        self.shard = shard
        self.log_id = log_id
        self.now_ms = BEGIN_MS
        self.ownerepoch = 1
        self.sequence = 0
        self.offset = 0
        self.events: list[Recorded] = []
        self._chains: dict[str, tuple[int, str]] = {}
        self._taken = 0
        self._ids = 0

    def new_id(self) -> str:
        self._ids += 1
        return make_id(self.now_ms, self.shard, self._ids)

    def queue(self, **fields: Any) -> str:
        """A new execution's first event; answers with its id."""
        execution_id = self.new_id()
        command_id = fields.pop("command_id", f"submit-{execution_id}")
        reason = fields.pop("reason", None)
        self.add(execution_id, queued(self.shard, self._ids, **fields), commandid=command_id, reason=reason)
        return execution_id

    def add(self, subject: str, *facts: Fact, **envelope: Any) -> None:
        """Facts of an execution's life become its next versions; others stay outside of any chain."""
        for fact in facts:
            self.now_ms += 1
            self._record(self.event(subject, fact, **envelope))

    def event(self, subject: str, fact: Fact, **envelope: Any) -> Event:
        version, previous = self._chains.get(subject, (0, None))
        chained = {"version": version + 1, "previous": previous} if fact.TYPE.startswith("execution.") else {}
        usual = {
            "id": event_id(self.shard, self.sequence + 1),
            "source": event_source(self.log_id, self.shard),
            "subject": subject,
            "time": self.now_ms - 5_000,  # the reporter's clock is wrong, and must not show in any view
            "recordedtime": self.now_ms,
            "shard": self.shard,
            "sequence": self.sequence + 1,
            "ownerepoch": self.ownerepoch,
            "cmdoffset": self.sequence,
            "repoffset": -1,
            "actor": ACTOR,
        }
        return make_event(fact, **(usual | chained | envelope))

    def take(self) -> list[Recorded]:
        batch, self._taken = self.events[self._taken :], len(self.events)
        self.offset += 1  # the marker
        return batch

    def _record(self, event: Event) -> None:
        raw = encode_event(event)
        if event.version is not None:
            self._chains[event.subject] = event.version, digest_of(raw)
        self.events.append(Recorded(event, raw, self.offset))
        self.sequence, self.offset = event.sequence, self.offset + 1


def queued(shard: int, ordinal: int, **fields: Any) -> Queued:
    number = number_of(ordinal, shard)
    usual = {
        "number": number,
        "name": name_of("train", number),
        "pipeline": PipelineRef(name="train", version=3, digest="d3"),
        "inputs": json_payload({"n": ordinal}),
        "mode": "production",
        "options": Options(train=True, plot=False, write=True),
        "priority": 0,
        "pool": "default",
        "policy": Policy(),
    }
    return Queued(**(usual | fields))
