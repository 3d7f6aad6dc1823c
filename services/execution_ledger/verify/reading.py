"""From a log to the checks: one shard's events, then the commands that its traces are of.

Whatever is appended after the check has begun is left alone: `end` is where the lane ended then.
"""

from __future__ import annotations

from array import array
from collections.abc import AsyncGenerator, Callable, Sequence, Set
from dataclasses import dataclass, field

from pydantic_core import from_json

from execution_ledger.log.protocol import Lane, Log, Record, Topic
from execution_ledger.messages.commands import COMMANDS
from execution_ledger.settings import LedgerSettings

from .answers import Answer, check_answers
from .findings import Breach, Breaches, Findings, Gap
from .log.commands import is_trace_of
from .log.endings import check_ended
from .log.history import Stored, check_shards, join
from .log.shard import ShardCheck

READ_WAIT_S = 1.0

Tell = Callable[[int], None]  # how many more records were read


@dataclass
class LaneFindings:
    """`read`: commands that are still kept; `undecided`: those of the wanted ones that no ledger had read."""

    read: int = 0
    undecided: set[str] = field(default_factory=set)
    breaches: Breaches = field(default_factory=Breaches)


async def records(log: Log, lane: Lane, start: int, end: int) -> AsyncGenerator[Sequence[Record], None]:
    """What lies between, in pieces. Raises Stalled where the log does not give it."""
    position = start
    async with log.reader({lane: start}) as reader:
        while position < end:
            chunk = (await reader.read(READ_WAIT_S)).get(lane)
            if chunk is None:
                continue
            position = chunk.position
            yield [record for record in chunk.records if record.offset < end]


async def check_events(log: Log, check: ShardCheck, shard: int, end: int, tell: Tell) -> None:
    """From the oldest event that there is: if that is not the first, the check says so."""
    lane = Lane(Topic.EVENTS, shard)
    async for piece in records(log, lane, await log.begin(lane), end):
        for record in piece:
            check.feed(record.value or b"", record.offset)
        tell(len(piece))


async def read_log(log: Log) -> dict[int, list[Stored]]:
    """All shards' events up to now, for `check_log`: for logs that fit into memory."""
    history: dict[int, list[Stored]] = {}
    for shard in reversed(range(await log.shards())):  # the catalog last: no claim may be newer than what it knows
        lane = Lane(Topic.EVENTS, shard)
        pieces = records(log, lane, await log.begin(lane), await log.end(lane))
        history[shard] = [(record.value or b"", record.offset) async for piece in pieces for record in piece]
    return history


async def check_whole(
    log: Log,
    settings: LedgerSettings,
    answers: Sequence[Answer] = (),
    *,
    at_rest: bool = False,
    one_clock: bool = True,
) -> Findings:
    """Events and commands of any log, and what clients were answered, in this process.

    `at_rest`: nothing is wrong any more and there was time enough, so that everything must have ended. Promise 9.
    `one_clock`: as in `join`.
    """
    wanted = {one for answer in answers for one in answer.ids}
    shards = check_shards(await read_log(log), settings, wanted)
    findings = join(shards, one_clock=one_clock)
    undecided = set[str]()
    for found in shards:
        end = await log.end(Lane(Topic.COMMANDS, found.shard))
        lane = await check_lane(log, found.shard, end, found.traces, found.gaps, wanted, _nobody)
        findings.breaches.join(lane.breaches)
        findings.breaches.extend(await beyond_its_lanes(log, found.shard, len(found.traces), found.repoffset + 1))
        undecided |= lane.undecided
        if at_rest:
            unread = end - len(found.traces), await log.end(Lane(Topic.REPORTS, found.shard)) - 1 - found.repoffset
            findings.breaches.extend(check_ended(found, *unread))
    evidence = [piece for found in shards for piece in found.evidence]
    newest = {found.shard: found.sequence for found in shards}
    findings.breaches.extend(check_answers(answers, evidence, undecided, newest))
    return findings


async def beyond_its_lanes(log: Log, shard: int, commands: int, reports: int) -> list[Breach]:
    """Both are how many the events say to have been read. Asked after the events were: whatever they read is there."""
    found = []
    for promise, topic, read in ((5, Topic.COMMANDS, commands), (4, Topic.REPORTS, reports)):
        if read > (end := await log.end(Lane(topic, shard))):
            what = (
                f"Its events say that {read} {topic} were read, and the lane ends at {end}: who takes the shard over "
            )
            found.append(Breach(promise, shard, None, None, f"{what}would pass over what comes next."))
    return found


def _nobody(_: int) -> None:
    """Nobody watches."""


async def check_lane(
    log: Log, shard: int, end: int, traces: array[int], gaps: Sequence[Gap], wanted: Set[str], tell: Tell
) -> LaneFindings:
    """Every command that is still kept, beside the trace that stands under its offset. Promise 5."""
    found, lane = LaneFindings(), Lane(Topic.COMMANDS, shard)
    begin = await log.begin(lane)
    unjudged = [gap for gap in gaps if gap.first < begin]
    for gap in unjudged:
        what = f"{gap.breach.what[:-1]}, and is no longer kept to tell whether anything lay there."
        found.breaches.add(gap.breach._replace(what=what))
    empty = [gap for gap in gaps if gap.first >= begin]
    async for piece in records(log, lane, begin, end):
        for record in piece:
            _check_command(found, shard, record, traces, wanted)
            for gap in [gap for gap in empty if gap.first <= record.offset < gap.end]:
                found.breaches.add(gap.breach)
                empty.remove(gap)
        found.read += len(piece)
        tell(len(piece))
    return found


def _check_command(found: LaneFindings, shard: int, record: Record, traces: array[int], wanted: Set[str]) -> None:
    if record.offset >= len(traces):
        found.undecided |= {command_id} if (command_id := _command_id(record)) in wanted else set()
    elif not is_trace_of(traces[record.offset], record.value):
        what = f"Command {record.offset} of the lane ({_words(record)}) is not the one that the trace there is of."
        found.breaches.add(Breach(5, shard, None, None, what))


def _command_id(record: Record) -> str:
    try:
        return str(from_json(record.value or b"{}").get("command_id"))
    except (ValueError, AttributeError):
        return ""


def _words(record: Record) -> str:
    try:
        command = COMMANDS.validate_json(record.value or b"")
    except ValueError:
        return "unreadable"
    return f"{command.type} {command.command_id!r}"
