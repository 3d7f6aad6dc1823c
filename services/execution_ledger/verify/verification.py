"""The whole check, part by part: the log, the commands in their lanes, the views, a client's answers.

Where each lane ends is asked once, at the beginning: a ledger that goes on meanwhile is neither stopped nor waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from execution_ledger.clock import real_world
from execution_ledger.errors import TopicContract, Unavailable
from execution_ledger.log.kafka import KafkaLog
from execution_ledger.log.protocol import Lane, Topic
from execution_ledger.log.topics import check_topics
from execution_ledger.messages.ids import CATALOG_SHARD
from execution_ledger.objects import Objects, open_objects
from execution_ledger.settings import KafkaSettings, LedgerSettings, ObjectsSettings

from .answers import Answer, check_answers
from .files import CONTENTS_BYTES_MAX, check_files
from .findings import OF_THE_FILES, OF_THE_VIEWS, Breach, Breaches
from .folds.comparing import Subject, subjects
from .folds.snapshots import kept_of
from .log.history import join, known_of
from .log.shard import Known, ShardFindings
from .reading import LaneFindings
from .views.postgres import ViewFindings
from .workers import (
    CLIENT,
    EventsJob,
    LaneJob,
    SnapshotsJob,
    ViewsJob,
    Workers,
    check_events_of,
    check_lane_of,
    check_snapshots_of,
    check_views_of,
)

TELL_S = 0.1
FOLDED_MAX = 1_000_000  # events to fold for snapshots, unless more is asked for: at most half a minute on two cores

OnProgress = Callable[[str, int, int], None]  # part, records read, records there are
T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """`dsn` is absent where the views are not to be checked; `snapshots` where they are unless that takes long,
    as the contents of `files` are.
    """

    kafka: KafkaSettings
    ledger: LedgerSettings
    dsn: str | None
    objects: ObjectsSettings = field(default_factory=ObjectsSettings)
    snapshots: bool | None = None
    files: bool | None = None


@dataclass(frozen=True)
class Part:
    """What was looked at: `checked` is how many of `what`, in `seconds`."""

    name: str
    checked: int
    what: str
    seconds: float
    breaches: int

    @property
    def per_second(self) -> float:
        return self.checked / self.seconds if self.seconds else 0.0


@dataclass
class Report:
    shards: int = 0
    events: int = 0
    executions: int = 0
    log_id: str = ""
    files: int = 0  # that events name
    seconds: float = 0.0
    parts: list[Part] = field(default_factory=list)
    breaches: Breaches = field(default_factory=Breaches)
    notes: list[str] = field(default_factory=list)  # what could not be checked, and why
    out_of_reach: bool = False  # views or snapshots could not be checked now

    def state_of(self, promise: int) -> str:
        if promise in self.breaches.promises:
            return "broken"
        checked = promise not in OF_THE_VIEWS or any(part.name == "views" for part in self.parts)
        if promise == OF_THE_FILES:
            checked = not self.files or any(part.name == "files" for part in self.parts)
        return "kept" if checked else "not checked"

    def add(self, name: str, checked: int, what: str, seconds: float, breaches: Breaches) -> None:
        self.parts.append(Part(name, checked, what, seconds, breaches.total))
        self.breaches.join(breaches)


@dataclass(frozen=True)
class Ends:
    """`settled`: where the events ended a moment earlier, so that their causes on other shards lie before `events`."""

    settled: dict[int, int]
    events: dict[int, int]
    commands: dict[int, int]


async def verify(place: Place, answers: Sequence[Answer], on_progress: OnProgress) -> Report:
    """Raises Unavailable where Kafka cannot be reached."""
    async with KafkaLog(place.kafka, CLIENT) as log:
        shards = await log.shards()
        ends = await _ends(log, shards)
    with Workers(shards) as workers:
        report = await Verification(place, answers, workers, ends, on_progress).run()
    try:
        await check_topics(place.kafka.model_copy(update={"shards": shards}))
    except TopicContract as error:  # it breaks nothing yet
        report.notes.append(str(error))
    return report


async def _ends(log: KafkaLog, shards: int) -> Ends:
    """The catalog's events last, so that no other shard's claim or limit is newer than what is read of it. Commands
    before events: a command that was decided is then never missing among them."""
    order = [*range(1, shards), CATALOG_SHARD]
    settled = {shard: await log.end(Lane(Topic.EVENTS, shard)) for shard in order}
    commands = {shard: await log.end(Lane(Topic.COMMANDS, shard)) for shard in order}
    return Ends(settled, {shard: await log.end(Lane(Topic.EVENTS, shard)) for shard in order}, commands)


class Verification:
    def __init__(
        self, place: Place, answers: Sequence[Answer], workers: Workers, ends: Ends, on_progress: OnProgress
    ) -> None:
        self._place = place
        self._answers = answers
        self._workers = workers
        self._ends = ends
        self._on_progress = on_progress
        self._now = asyncio.get_running_loop().time
        self._wanted = frozenset(one for answer in answers for one in answer.ids)
        self._report = Report(shards=len(ends.events))

    async def run(self) -> Report:
        began = self._now()
        await self._workers.start()
        shards = await self._check_log()
        lanes = await self._check_lanes(shards)
        if self._place.dsn is not None:
            await self._check_views(self._place.dsn, shards)
        if self._place.snapshots is not False and (objects := open_objects(self._place.objects)):
            await self._check_snapshots(objects, shards)
        await self._check_files(shards)
        if self._answers:
            self._check_answers(shards, lanes)
        self._report.breaches.kept.sort(key=_place_of)
        self._report.seconds = self._now() - began
        return self._report

    async def _check_log(self) -> list[ShardFindings]:
        began, report = self._now(), self._report
        shards = await self._watched("log", sum(self._ends.events.values()), self._read_shards())
        findings = join(shards)
        report.events, report.executions = findings.events, findings.executions
        report.log_id = next((found.log_id for found in shards if found.log_id), "")
        report.add("log", findings.events, "events", self._now() - began, findings.breaches)
        return shards

    async def _read_shards(self) -> list[ShardFindings]:
        """The catalog first, for what the others are judged by."""
        catalog = await self._workers.run(check_events_of, [self._events_job(CATALOG_SHARD, Known())])
        known = known_of(catalog[0])
        others = [self._events_job(shard, known) for shard in range(1, len(self._ends.events))]
        return catalog + await self._workers.run(check_events_of, others)

    def _events_job(self, shard: int, known: Known) -> EventsJob:
        place, ends = self._place, self._ends
        settled = ends.settled[shard]
        return EventsJob(place.kafka, shard, ends.events[shard], self._wanted, place.ledger, known, settled)

    async def _check_lanes(self, shards: list[ShardFindings]) -> list[LaneFindings]:
        began = self._now()
        jobs = [self._lane_job(found) for found in shards]
        work = self._workers.run(check_lane_of, jobs)
        lanes = await self._watched("commands", sum(self._ends.commands.values()), work)
        breaches = _joined([found.breaches for found in lanes])
        self._report.add("commands", sum(found.read for found in lanes), "commands", self._now() - began, breaches)
        return lanes

    def _lane_job(self, found: ShardFindings) -> LaneJob:
        return LaneJob(
            self._place.kafka,
            found.shard,
            self._ends.commands[found.shard],
            self._wanted,
            traces=found.traces,
            reports=found.repoffset + 1,
            gaps=tuple(found.gaps),
            named=frozenset(one.sequence for one in found.breaches.kept if one.sequence is not None),
        )

    async def _check_views(self, dsn: str, shards: list[ShardFindings]) -> None:
        began, report = self._now(), self._report
        jobs = [ViewsJob(self._place.kafka, found.shard, 0, frozenset(), dsn, len(shards)) for found in shards]
        try:
            views = await self._watched("views", report.events, self._workers.run(check_views_of, jobs))
        except Unavailable as error:
            self._out_of_reach("views", error)
            return
        if not all(found.there for found in views):
            report.notes.append("There are no views yet: no projector has ever run on this Postgres.")
            return
        breaches = _joined([found.breaches for found in views])
        for found, of_log in zip(views, shards, strict=True):
            self._explain_stop(found, of_log, breaches)
        report.add("views", sum(found.rows for found in views), "rows", self._now() - began, breaches)

    async def _check_snapshots(self, objects: Objects, shards: list[ShardFindings]) -> None:
        began, report = self._now(), self._report
        whose = subjects(objects, self._place.ledger, len(shards))
        try:
            kept = await kept_of(objects, report.log_id, whose)
            report.notes.extend(kept.notes())
            if self._place.snapshots is None and kept.events > FOLDED_MAX:
                report.notes.append(f"The snapshots were not checked, {kept.cost()}. Add --snapshots to do it.")
                return
            jobs = [
                self._snapshots_job(name, whose[name], found)
                for name, found in kept.own.items()
                if not self._is_broken(f"The snapshots of {name}", [shards[shard] for shard in whose[name].shards])
            ]
            findings = await self._watched("snapshots", kept.events, self._workers.run(check_snapshots_of, jobs))
        except Unavailable as error:
            self._out_of_reach("snapshots", error)
            return
        breaches = _joined([found.breaches for found in findings])
        what = f"events for {sum(found.snapshots for found in findings)}"
        report.add("snapshots", sum(found.events for found in findings), what, self._now() - began, breaches)

    async def _check_files(self, shards: list[ShardFindings]) -> None:
        began, report = self._now(), self._report
        named = list({(one.sha256, one.size): one for found in shards for one in found.files}.values())
        report.files = len(named)
        if not named:
            return
        if (objects := open_objects(self._place.objects)) is None:
            report.notes.append(f"{len(named)} files that events name were not looked for: no object store is set.")
            return
        total = sum(one.size for one in named)
        contents = total <= CONTENTS_BYTES_MAX if self._place.files is None else self._place.files
        if not contents:
            report.notes.append(
                f"Files were looked for, not read: they have {total / 1e9:.1f} GB. Add --files to do it."
            )
        breaches = Breaches()
        try:
            async for breach in check_files(objects, real_world(), named, contents=contents):
                breaches.add(breach)
        except Unavailable as error:
            self._out_of_reach("files", error)
            return
        report.add("files", len(named), "files", self._now() - began, breaches)

    def _snapshots_job(self, name: str, subject: Subject[Any], found: Sequence[str]) -> SnapshotsJob:
        place, shards = self._place, len(self._ends.events)
        counter = subject.shard if len(subject.shards) == 1 else shards
        return SnapshotsJob(
            place.kafka,
            counter,
            0,
            objects=place.objects,
            ledger=place.ledger,
            shards=shards,
            log_id=self._report.log_id,
            name=name,
            found=tuple(found),
        )

    def _out_of_reach(self, what: str, error: Unavailable) -> None:
        self._report.notes.append(f"The {what} were not checked: {error}")
        self._report.out_of_reach = True

    def _explain_stop(self, found: ViewFindings, of_log: ShardFindings, breaches: Breaches) -> None:
        if found.stopped and not self._is_broken(f"The views of shard {of_log.shard}", [of_log]):
            breaches.add(Breach(7, of_log.shard, None, None, f"The log cannot be folded: {found.stopped}"))

    def _is_broken(self, what: str, of_log: Sequence[ShardFindings]) -> bool:
        """Where the log itself is broken, its fold means nothing, and that has been named."""
        is_broken = any(found.breaches.total for found in of_log)
        if is_broken:
            self._report.notes.append(f"{what} were not compared as a whole: the log itself is broken.")
        return is_broken

    def _check_answers(self, shards: list[ShardFindings], lanes: list[LaneFindings]) -> None:
        began, breaches = self._now(), Breaches()
        evidence = [piece for found in shards for piece in found.evidence]
        undecided = {one for found in lanes for one in found.undecided}
        newest = {found.shard: found.sequence for found in shards}
        for breach in check_answers(self._answers, evidence, undecided, newest):
            breaches.add(breach)
        self._report.add("answers", len(self._answers), "answers", self._now() - began, breaches)

    async def _watched(self, part: str, total: int, work: Awaitable[T]) -> T:
        before = self._workers.counted
        task = asyncio.ensure_future(work)
        try:
            while not task.done():
                await asyncio.wait([task], timeout=TELL_S)
                self._on_progress(part, self._workers.counted - before, total)
            return task.result()
        finally:
            task.cancel()


def _joined(found: Sequence[Breaches]) -> Breaches:
    joined = Breaches()
    for breaches in found:
        joined.join(breaches)
    return joined


def _place_of(breach: Breach) -> tuple[int, int, int]:
    return breach.shard, breach.sequence or 0, breach.promise
