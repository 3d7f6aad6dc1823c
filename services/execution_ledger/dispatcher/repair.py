"""Repair: a heartbeat against the board. Whatever got lost on the way shows as a difference between the two.

This alone makes lost messages, restarts and a change of dispatcher harmless, so nothing else has to be remembered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from execution_ledger.messages.heartbeats import RunnerBeat, TokenPhase

from .board import Execution, Phase, Token
from .told import Told


@dataclass(frozen=True, slots=True)
class Heard:
    """A heartbeat as it was read. `time_ms` is when the log appended it."""

    beat: RunnerBeat
    time_ms: int
    listed: Mapping[Token, TokenPhase]  # in the order of the heartbeat, so that what is said to it has an order, too

    @classmethod
    def of(cls, beat: RunnerBeat, time_ms: int) -> Heard:
        return cls(beat, time_ms, {Token(held.execution_id, held.attempt): held.phase for held in beat.tokens})


@dataclass(frozen=True, slots=True)
class Repairs:
    starts: list[Token] = field(default_factory=list)
    confirmed: list[Token] = field(default_factory=list)
    aborts: list[Token] = field(default_factory=list)
    lost: list[Token] = field(default_factory=list)
    closed: list[Token] = field(default_factory=list)


def repairs(heard: Heard, live: Mapping[Token, Execution], told: Told) -> Repairs:
    """What this runner has to be told again, and which of its attempts are lost."""
    runner, inbox_offset = heard.beat.process, heard.beat.inbox_offset
    found = Repairs()
    for token, execution in live.items():
        if execution.aborting:
            if told.may_tell(runner, "abort", token, inbox_offset):
                found.aborts.append(token)
        elif token in heard.listed:
            is_waiting = heard.listed[token] == "waiting"
            unconfirmed = execution.at_most_once and execution.phase is Phase.STARTED and is_waiting
            if unconfirmed and told.may_tell(runner, "confirmed", token, inbox_offset):
                found.confirmed.append(token)
        elif execution.phase is Phase.DISPATCHED:
            if told.may_tell(runner, "start", token, inbox_offset):
                found.starts.append(token)
        elif told.knew_of(runner, token, inbox_offset):
            found.lost.append(token)
    over = [token for token in heard.listed if token not in live]
    found.closed.extend(token for token in over if told.may_tell(runner, "closed", token, inbox_offset))
    return found
