"""One shard, event by event: its order, its writers, and all that its commands and executions must keep to.

What it takes is bytes and where they lie, what it gives is `ShardFindings`: so shards are checked side by side, in
processes of their own.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from pydantic_core import from_json

from execution_ledger.errors import Permanent
from execution_ledger.messages.events import (
    BatchOpened,
    DispatcherClaimed,
    EntryFact,
    Fact,
    JobOpened,
    LabelsChanged,
    PipelineRegistered,
    Queued,
    ShardClaimed,
    ShardCreated,
    Started,
    SubmitJoined,
    event_id,
    event_source,
)
from execution_ledger.messages.ids import CATALOG_SHARD
from execution_ledger.messages.payload import Payload
from execution_ledger.settings import LedgerSettings

from ..answers import Evidence, evidence_of
from ..files import ENDS, Declared, Named, NamedFiles
from ..findings import Breach, Breaches, Gap
from .batches import Batches
from .commands import Commands
from .documents import Document, read_document, time_ms
from .executions import Executions, is_reported
from .jobs import Jobs
from .limits import Limit, Move
from .payloads import HOLDS, wrong_payload
from .subjects import wrong_offset, wrong_subject

IN_ITS_HISTORY = "executionledger.execution."
WHOLE = 2**63  # an offset behind all there are


class Claim(NamedTuple):
    claim: int
    dispatcher: str
    shard: int
    sequence: int


@dataclass
class ShardFindings:
    """What one shard came to, and what only a look over all shards can judge."""

    shard: int
    log_id: str = ""
    shards: int = 0  # as its first event says
    events: int = 0
    sequence: int = 0
    settled: int = 0  # up to this sequence its causes on other shards were read, too
    incomplete: bool = False  # events are missing, and this has been named
    executions: int = 0
    breaches: Breaches = field(default_factory=Breaches)
    traces: array[int] = field(default_factory=lambda: array("I"))
    gaps: list[Gap] = field(default_factory=list)  # of the lane of commands, which only that lane can judge
    moves: list[Move] = field(default_factory=list)
    limits: list[Limit] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    files: list[Named] = field(default_factory=list)
    declared: Mapping[str, Declared] = field(default_factory=dict)  # what is a file in each pipeline's version
    live: dict[str, str] = field(default_factory=dict)  # executions without an end, and their states
    repoffset: int = -1  # how far reports were read
    jobs: Jobs = field(default_factory=Jobs)
    batches: Batches = field(default_factory=Batches)
    business: dict[str, int] = field(default_factory=dict)  # business ids, and the sequence of the first of each


class Known(NamedTuple):
    """What the catalog says, by which the other shards are judged: it is checked first."""

    limited: Set[str] = frozenset()  # the pipelines that ever had a limit
    declared: Mapping[str, Declared] = {}


class ShardCheck:
    """`wanted`: ids of commands and executions to give evidence of.

    `settled`: where the shard ended before anybody asked where the others do, in a ledger that goes on meanwhile.
    """

    def __init__(
        self,
        shard: int,
        settings: LedgerSettings,
        known: Known | None = None,
        wanted: Set[str] = frozenset(),
        settled: int = WHOLE,
    ) -> None:
        known = known or Known()
        self.found = ShardFindings(shard, batches=Batches(settings))
        self._shard = shard
        self._settled = settled
        self._wanted = wanted
        self._executions = Executions(shard, known.limited, self._say)
        self._files = NamedFiles(known.declared)
        self._commands = Commands(settings, self._say, self._say_of_gap)
        self._entries: dict[str, int] = {}  # versions of what the catalog holds, by subject
        self._next: tuple[int, ...] = (1,)  # sequences that may come now; more than one after a breach
        self._epochs: Sequence[int] = (0,)
        self._recorded_ms = 0
        self._repoffset = -1
        self._sources: tuple[str, ...] = ()
        self._at: Document | None = None
        self._before: Document | None = None
        self._said = False

    def feed(self, raw: bytes, offset: int) -> None:
        self.found.events += 1
        self._said = False
        try:
            self._at = document = read_document(raw)
            now_ms = time_ms(document["recordedtime"])
        except (Permanent, ValueError) as error:
            return self._unreadable(offset, error)
        self._check_place(document)
        self._check_writer(document)
        self._commands.feed(document, now_ms)
        self._commands.forgiven = False
        self._check_fact(document, raw, now_ms)
        self._check_progress(document, now_ms)
        self.found.jobs.follow(document)
        if self._wanted:
            self._remember(document)
        if offset < self._settled:
            self.found.settled = document["sequence"]
        self._before = document
        return None

    def finish(self) -> ShardFindings:
        found = self.found
        found.executions = self._executions.queued
        found.moves, found.traces = self._executions.moves, self._commands.traces
        found.live, found.repoffset = self._executions.live(), self._repoffset
        found.business = self._executions.business.seen
        found.files, found.declared = [*self._files.found.values()], self._files.declared
        return found

    def _say(self, promise: int, what: str, sequence: int | None = None) -> None:
        """Only the first breach of an event: the others are its wake. `sequence` where it is not the event's own."""
        if breach := self._breach(promise, what, sequence):
            self.found.breaches.add(breach)

    def _say_of_gap(self, first: int, end: int) -> None:
        lost = f"command {first}" if end == first + 1 else f"commands {first} to {end - 1}"
        if breach := self._breach(5, f"{lost} of the lane left no trace before it"):
            self.found.gaps.append(Gap(first, end, breach))

    def _breach(self, promise: int, what: str, sequence: int | None = None) -> Breach | None:
        if self._said or self._at is None:
            return None
        self._said = True
        document = self._at
        is_its_own = sequence is None and document["type"].startswith(IN_ITS_HISTORY)
        execution = document["subject"] if is_its_own else None
        sentence = f"{document['data'].TYPE.removesuffix('.v1')}: {what}."
        at = document["sequence"] if sequence is None else sequence
        return Breach(promise, self._shard, at, execution, sentence)

    # --- promise 1 ----------------------------------------------------------------------------------------------

    def _unreadable(self, offset: int, error: Exception) -> None:
        expected = max(self._next)
        self.found.breaches.add(Breach(1, self._shard, expected, None, f"The record at offset {offset}: {error}"))
        self._miss(1)
        self._next = (expected, expected + 1)

    def _miss(self, events: int) -> None:
        """Events are missing, and this has been named: what their absence breaks further on is the same damage."""
        self.found.incomplete = True
        self._executions.miss(events)
        self._commands.forgiven = True
        self._epochs = range(self._epochs[0], self._epochs[0] + events + 1)

    def _check_place(self, document: Document) -> None:
        sequence, expected = document["sequence"], self._next[0]
        if sequence in self._next:
            self._next = (sequence + 1,)
        else:
            self._misplaced(sequence, expected)
        if document["id"] != event_id(self._shard, sequence) or document["shard"] != self._shard:
            self._say(1, f"its id {document['id']!r} and shard {document['shard']} are not those of its place")
        if self._sources != (document["source"],):
            self._check_source(document)
        if isinstance(document["data"], ShardCreated) != (sequence == 1):
            self._say(1, "a shard begins with shard.created, and only once")
        self.found.sequence = max(self.found.sequence, sequence)

    def _misplaced(self, sequence: int, expected: int) -> None:
        if sequence < expected:
            self._say(1, f"sequence {sequence} comes again, where {expected} must come")
            self._next = (expected, expected + 1)
            self._miss(1)
        else:
            lost = f"{expected} is" if sequence == expected + 1 else f"{expected} to {sequence - 1} are"
            self._say(1, f"sequence {lost} missing before it", expected)
            self._next = (sequence + 1, expected + 1)
            self._miss(sequence - expected)

    def _check_source(self, document: Document) -> None:
        fact, source = document["data"], document["source"]
        if not self._sources:
            log_id = source.removesuffix(f"/{self._shard}").rpartition("/")[2]
            self.found.log_id = fact.log_id if isinstance(fact, ShardCreated) else log_id
            self._sources = (event_source(self.found.log_id, self._shard),)
        of_log = fact.log_id if isinstance(fact, ShardCreated) else self.found.log_id
        wanted = event_source(of_log, self._shard)
        if source not in (wanted, *self._sources[1:]):
            self._say(1, f"its source is {source!r}, and this is shard {self._shard} of log {of_log!r}")
            self._sources = (wanted, source)
        else:
            self._sources = (source,)

    # --- promises 2 and 4 ---------------------------------------------------------------------------------------

    def _check_writer(self, document: Document) -> None:
        epoch, newest = document["ownerepoch"], self._epochs[0]
        if isinstance(document["data"], ShardClaimed):
            if epoch - 1 not in self._epochs:
                self._say(2, f"it takes the shard with epoch {epoch}, where {newest + 1} must come")
                self._epochs = (epoch, newest + 1)
            else:
                self._epochs = (epoch,)
        elif epoch in self._epochs:
            self._epochs = (epoch,)
        else:
            how = "was fenced by" if epoch < newest else "never took the shard over from"
            self._say(2, f"its writer, epoch {epoch}, {how} epoch {newest}")
            self._epochs = (newest, epoch)

    def _check_progress(self, document: Document, now_ms: int) -> None:
        repoffset = document["repoffset"]
        if now_ms < self._recorded_ms:
            back_ms = self._recorded_ms - now_ms
            self._say(
                1, f"its recordedtime {document['recordedtime']} goes back by {back_ms} ms from the one before it"
            )
        if repoffset < self._repoffset:
            self._say(4, f"its repoffset goes back to {repoffset}, from the {self._repoffset} of the one before it")
        elif repoffset == self._repoffset and is_reported(document) and not self._goes_on(document):
            self._say(4, f"report {repoffset} of the lane was taken before it, or there was none")
        self._recorded_ms, self._repoffset = now_ms, repoffset

    def _goes_on(self, document: Document) -> bool:
        """The report of an end is also that of a start where there was none before."""
        before = self._before
        return before is None or (isinstance(before["data"], Started) and before["subject"] == document["subject"])

    # --- facts --------------------------------------------------------------------------------------------------

    def _check_fact(self, document: Document, raw: bytes, now_ms: int) -> None:
        fact = document["data"]
        holds_payloads = type(fact) in HOLDS
        if holds_payloads or type(fact) in ENDS:
            self._files.feed(self._shard, document["sequence"], document["subject"], fact)
        if document["type"].startswith(IN_ITS_HISTORY):
            self._executions.feed(document, raw)
            if isinstance(fact, Queued) and (wrong := self._queued_by_its_source(document, fact, now_ms)):
                self._say(4, wrong)
        else:
            self._check_own(document, fact, now_ms)
        if holds_payloads and (wrong := wrong_payload(fact)):
            self._say(11, wrong)

    def _queued_by_its_source(self, document: Document, fact: Queued, now_ms: int) -> str | None:
        return self.found.batches.queued(document["subject"], fact, document["sequence"], now_ms)

    def _check_own(self, document: Document, fact: Fact, now_ms: int) -> None:
        """What is no part of an execution's history."""
        if "version" in document or "previous" in document:
            self._say(3, "it bears a version, and is no part of an execution's history")
        if wrong := wrong_subject(document, self._shard):
            self._say(3, wrong)
        if wrong := wrong_offset(document):
            self._say(5, wrong)
        if isinstance(fact, ShardCreated):
            self.found.shards = fact.shards
        elif isinstance(fact, DispatcherClaimed):
            self._claimed(fact, document)
        elif isinstance(fact, BatchOpened):
            self._opened(fact)
        elif isinstance(fact, JobOpened):
            self._job_opened(fact)
        elif isinstance(fact, LabelsChanged):
            self._executions.labelled(document["subject"])
        elif isinstance(fact, SubmitJoined):
            self._executions.joined(fact)
        elif isinstance(fact, PipelineRegistered):
            self.found.limits.append(Limit(now_ms, fact.pipeline, limit_in(fact.definition)))
            self._entered(document["subject"], fact.version)
        elif isinstance(fact, EntryFact):
            self._entered(document["subject"], fact.version)

    def _entered(self, subject: str, version: int) -> None:
        newest = self._entries.get(subject, 0)
        if version != newest + 1 and not self._executions.forgiven:
            self._say(3, f"version {version} of {subject} follows version {newest}")
        self._entries[subject] = version

    def _claimed(self, fact: DispatcherClaimed, document: Document) -> None:
        newest, missing = self._executions.claim, self._executions.forgiven
        if fact.claim <= newest or (self._shard == CATALOG_SHARD and fact.claim > newest + 1 + missing):
            self._say(6, f"dispatcher claim {fact.claim} follows claim {newest}")
        is_its_own = fact.dispatcher == document.get("actor")
        if not is_its_own:
            self._say(6, f"{document.get('actor')} claims for {fact.dispatcher}")
        self._executions.claim, self._executions.dispatcher = fact.claim, fact.dispatcher if is_its_own else ""
        self.found.claims.append(Claim(fact.claim, fact.dispatcher, self._shard, document["sequence"]))

    def _opened(self, fact: BatchOpened) -> None:
        batches = self.found.batches
        if fact.link and not batches.has(fact.link.to) and not self._executions.forgiven:
            self._say(3, f"it is a {fact.link.how} of batch {fact.link.to}, which was not opened here before it")
        if batches.has(fact.batch_id):
            self._say(4, f"batch {fact.batch_id} was opened before")
        batches.open(fact)

    def _job_opened(self, fact: JobOpened) -> None:
        if wrong := self.found.jobs.open(fact):
            self._say(4, wrong)

    def _remember(self, document: Document) -> None:
        if document["subject"] in self._wanted or document.get("commandid") in self._wanted:
            self.found.evidence.append(evidence_of(document))


def limit_in(definition: Payload) -> int | None:
    """A definition that cannot be read limits nothing, as for the dispatcher."""
    try:
        value = from_json(definition.inline or "null")
    except ValueError:
        return None
    limit = value.get("limit") if isinstance(value, dict) else None
    return limit if isinstance(limit, int) else None
