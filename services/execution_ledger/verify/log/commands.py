"""One shard's commands: each leaves one trace under its own offset, and is decided once. Promises 4 and 5.

Nobody writes to the lane of commands in transactions, so its offsets are dense: traces must be, too. Should a stranger
do so, his markers are gaps without commands, which the lane itself can tell while it is kept.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any, NamedTuple
from zlib import crc32

from pydantic_core import from_json

from execution_ledger.ledger.shard import ID_AGE_MAX_MS, UNBOUNDED
from execution_ledger.messages.events import (
    FACTS,
    Aborted,
    AbortRequested,
    CommandFailed,
    CommandRejected,
    CommandRepeated,
    CommandUnreadable,
    Fact,
    Queued,
    SubmitJoined,
    digest_of,
)
from execution_ledger.messages.parts import Outcome
from execution_ledger.settings import LedgerSettings

from .documents import Document
from .executions import Say

UNKNOWN_TRACE = 0
JUMP_MAX = 1_000_000  # an offset that is further away is wrong itself
_MAY_BE_KEYED = frozenset(fact for fact in FACTS if "keyed" in fact.model_fields)


class Decision(NamedTuple):
    """The first answer to a command."""

    offset: int
    sequence: int
    recorded_ms: int
    place: int  # how many decisions had been remembered before it
    subject: str
    number: int | None
    name: str | None


class Owed(NamedTuple):
    """What holds if it was one event's offset alone that was wrong: the next one stands behind these."""

    traces: int
    mark: int | None  # of the event itself


class Memory:
    """Decisions for at least one span of recorded time and of decisions, in two generations of a dict."""

    def __init__(self, span_ms: int, count_max: int) -> None:
        self._span_ms, self._count_max = span_ms, count_max
        self._recent: dict[str, Decision] = {}
        self._older: dict[str, Decision] = {}
        self._since_ms = 0
        self.count = 0

    def find(self, command_id: str, now_ms: int) -> Decision | None:
        """Only one that the ledger must still remember, too."""
        found = self._recent.get(command_id) or self._older.get(command_id)
        if found is None or now_ms - found.recorded_ms >= self._span_ms or self.count - found.place >= self._count_max:
            return None
        return found

    def add(self, command_id: str, document: Document, now_ms: int) -> None:
        if now_ms - self._since_ms >= self._span_ms or len(self._recent) >= self._count_max:
            self._older, self._recent, self._since_ms = self._recent, {}, now_ms
        fact, subject, number, name = document["data"], document["subject"], None, None
        if isinstance(fact, Queued):
            number, name = fact.number, fact.name
        elif isinstance(fact, SubmitJoined):
            subject, number, name = fact.execution_id, fact.number, fact.name
        place = document["cmdoffset"], document["sequence"], now_ms, self.count
        self._recent[command_id] = Decision(*place, subject, number, name)
        self.count += 1


class Commands:
    """`say` names a breach of the event that is being fed; `forgiven`: an event before this one is missing."""

    def __init__(self, settings: LedgerSettings, say: Say, say_of_gap: Callable[[int, int], None]) -> None:
        self._say, self._say_of_gap = say, say_of_gap
        self._plain = Memory(ID_AGE_MAX_MS, UNBOUNDED)
        self._keyed = Memory(settings.keyed_ms, settings.keyed_max)
        self._newest: Document | None = None  # trace that had a command's id
        self._owed: Owed | None = None
        self.traces = array("I")  # by offset: a mark of the command's id, or of its digest where it has none
        self.forgiven = False

    @property
    def offset(self) -> int:
        """Of the last command that was decided."""
        return len(self.traces) - 1

    def feed(self, document: Document, now_ms: int) -> None:
        command_id = document.get("commandid")
        identity = command_id or _digest_of_unreadable(document["data"])
        offset = document["cmdoffset"]
        if self._owed:
            self._settle_what_is_owed(self._owed, offset + (identity is None))
        mark = None if identity is None else mark_of(identity)
        if mark is None:
            if offset != self.offset:
                self._jump(offset, offset + 1, None)
        elif offset != len(self.traces) and not self._goes_on(document):
            self._misplaced_trace(offset, mark)
        if mark is not None and offset == len(self.traces):
            self.traces.append(mark)
        if command_id is not None:
            if "actor" not in document:
                self._say(5, "it does not say who asked for it")
            self._newest = document
            self._decide(document, command_id, now_ms)

    def _goes_on(self, document: Document) -> bool:
        """An abort in the queue is two events of one breath."""
        before, fact = self._newest, document["data"]
        return (
            isinstance(fact, Aborted)
            and before is not None
            and isinstance(before["data"], AbortRequested)
            and before["sequence"] == document["sequence"] - 1
            and before["subject"] == document["subject"]
            and before.get("commandid") == document.get("commandid")
        )

    def _misplaced_trace(self, offset: int, mark: int) -> None:
        if offset == self.offset:
            self._say(5, f"command {offset} of the lane has a second trace")
            self._owed = Owed(len(self.traces), mark)
        else:
            self._jump(offset, offset, mark)

    def _jump(self, offset: int, expected: int, mark: int | None) -> None:
        """The event stands where `expected` traces must have been before it."""
        known = len(self.traces)
        self._owed = None if self.forgiven else Owed(known, mark)
        if expected < known:
            return self._say(4, f"its cmdoffset goes back to {offset}, from the {self.offset} of the one before it")
        if not self.forgiven:
            self._say_of_gap(known, expected)
        if expected - known <= JUMP_MAX:
            self.traces.extend([UNKNOWN_TRACE] * (expected - known))
        return None

    def _settle_what_is_owed(self, owed: Owed, expected: int) -> None:
        """The next event stands where `expected` traces must be before it: at once behind the one that stood wrong?"""
        self._owed = None
        if expected == owed.traces + (owed.mark is not None):
            del self.traces[owed.traces :]
            if owed.mark is not None:
                self.traces.append(owed.mark)

    def _decide(self, document: Document, command_id: str, now_ms: int) -> None:
        fact = document["data"]
        first = self._plain.find(command_id, now_ms) or self._keyed.find(command_id, now_ms)
        if isinstance(fact, CommandRepeated):
            if first is not None and (wrong := _wrong_repeat(fact.first, first)):
                self._say(5, wrong)
        elif isinstance(fact, CommandRejected) and fact.refusal.is_no_answer:
            return
        elif first is None:
            memory = self._keyed if _is_keyed(fact) else self._plain
            memory.add(command_id, document, now_ms)
        elif first.offset != document["cmdoffset"]:
            self._say(4, f"command {command_id!r} was decided before, at sequence {first.sequence}")


def _wrong_repeat(told: Outcome, first: Decision) -> str | None:
    if told.sequence != first.sequence:
        return f"a repeat is told of sequence {told.sequence}; its first was {first.sequence}"
    if told.subject != first.subject:
        return f"a repeat is told of {told.subject}; its first was about {first.subject}"
    if (told.number, told.name) != (first.number, first.name):
        return f"a repeat is told of {told.name} ({told.number}); its first was {first.name} ({first.number})"
    return None


def _is_keyed(fact: Any) -> bool:
    return type(fact) in _MAY_BE_KEYED and fact.keyed


def _digest_of_unreadable(fact: Fact) -> str | None:
    if isinstance(fact, CommandUnreadable | CommandFailed) and fact.lane == "commands":
        return fact.digest
    return None


def mark_of(identity: str) -> int:
    """Short, because there is one for every command there ever was; the same in every process."""
    return crc32(identity.encode())


def is_trace_of(trace: int, value: bytes | None) -> bool:
    """Whether a trace's mark is that of this record of the lane."""
    if trace == UNKNOWN_TRACE:
        return True
    raw = value or b""
    try:
        command = from_json(raw)
        identity = command.get("command_id") if isinstance(command, dict) else None
    except ValueError:
        identity = None
    named = identity if isinstance(identity, str) else ""
    return trace in (mark_of(named), mark_of(digest_of(raw)))
