"""The users' code of the simulation, and a witness of when it was entered, by which process, and when it was left."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any, get_args

from execution_ledger.runner.capture import here
from execution_ledger.sdk.attempt.context import Context, NoRetry
from execution_ledger.sdk.pipelines.pipeline import Pipeline, pipeline
from execution_ledger.sdk.pipelines.ports import Declared

from .loop import LIFE, Life
from .plan import Planted

TIGHT, LIMIT = "tight", 2
SLOTS = 3  # of each runner
AROUND = ("name", "mode", "twin", "experiment", "properties")


class BrokenPlace(Exception):
    """Stands for a place to run in that could not be made: the executor says so, not the code."""


@dataclass(eq=False)
class Entry:
    """One time that code was begun, of one function or of a step in one of its tries."""

    execution_id: str
    attempt: int
    step: str | None
    try_: int
    pipeline: str
    life: Life
    at_s: float
    inputs: dict[str, Any]
    left_s: float | None = None
    given: Any = None  # the checkpoint that it began with
    said: Any = None  # its own newest
    told: list[str] = field(default_factory=list)  # what it printed
    around: dict[str, Any] = field(default_factory=dict)  # what else its context said when it began

    @property
    def deaf(self) -> bool:
        """Whether it goes on whatever it is told."""
        return bool(self.inputs["manner"] == "deaf")


class Witness:
    """`heard`: when heartbeats of each process reached the log. A runner that was not heard for `fence_s` has stopped
    its work by itself, or is about to: what it still runs no longer counts.
    """

    def __init__(
        self, heard: Mapping[Life, Sequence[float]], fence_s: float, releases: Sequence[tuple[float, int]] = ()
    ) -> None:
        """`releases`: from when on there may be another limit, and which; an older one may still count then."""
        self.entries: list[Entry] = []
        self.crowded: list[tuple[Entry, int]] = []  # entered although as many were under way as may be
        self.overfull: list[tuple[Entry, int]] = []  # entered in a process that had as many as it has slots for
        self._heard, self.fence_s = heard, fence_s
        self._open: set[Entry] = set()
        self._releases = releases

    @contextmanager
    def entered(self, ctx: Context, name: str, **inputs: Any) -> Iterator[None]:
        life = LIFE.get()
        assert life is not None
        entry = Entry(
            ctx.execution_id, ctx.attempt, ctx.step, ctx.try_, name, life, _now_s(), inputs, given=ctx.last_checkpoint
        )
        entry.around = {name: getattr(ctx, name) for name in AROUND}
        self.entries.append(entry)
        self._open.add(entry)
        self._count(entry)
        try:
            yield
        finally:
            entry.left_s = _now_s()
            self._open.discard(entry)

    def says(self, ctx: Context, value: Any) -> None:
        """A checkpoint, and a line of the log."""
        ctx.checkpoint(value)
        place, text = here(), str(value)
        if place:
            place.captured.write("stdout", f"{text}\n")
        for entry in self._open:
            if (entry.execution_id, entry.attempt) == (ctx.execution_id, ctx.attempt):
                entry.said = value
                entry.told.append(text)

    def doubled(self) -> Iterator[Entry]:
        """Entries of a token that had been entered before."""
        times = Counter[tuple[str, int, str | None, int]]()
        for entry in self.entries:
            key = (entry.execution_id, entry.attempt, entry.step, entry.try_)
            times[key] += 1
            if times[key] > 1:
                yield entry

    def unfenced(self) -> Iterator[Entry]:
        """Entries whose code still ran when their runner was heard again, after it should have stopped by itself."""
        for entry in self.entries:
            if entry.left_s is not None and not entry.deaf:
                heard = [at_s for at_s in self._heard.get(entry.life, ()) if at_s < entry.left_s]
                gaps = pairwise(heard)
                if any(before + self.fence_s < after and entry.at_s < before for before, after in gaps):
                    yield entry

    def _count(self, entry: Entry) -> None:
        under_way = sum(one.pipeline == entry.pipeline and self._counts(one) for one in self._open)
        in_slots = len({(one.execution_id, one.attempt) for one in self._open if one.life is entry.life})
        if in_slots > SLOTS:
            self.overfull.append((entry, in_slots))
        if entry.pipeline == TIGHT and under_way > self._limit():
            self.crowded.append((entry, under_way))

    def _limit(self) -> int:
        return max([LIMIT, *(limit for since_s, limit in self._releases if since_s <= _now_s())])

    def _counts(self, entry: Entry) -> bool:
        heard = [at_s for at_s in self._heard.get(entry.life, ()) if at_s > entry.at_s]
        times = [entry.at_s, *heard, _now_s()]
        return all(later - earlier < self.fence_s for earlier, later in pairwise(times))


WITNESS: ContextVar[Witness] = ContextVar("witness")


async def behave(ctx: Context, manner: str, seconds: float) -> dict[str, Any]:
    match manner:
        case "hang":
            await asyncio.Event().wait()
        case "deaf":
            await _deaf(seconds)
        case "stubborn":
            await _stubborn(ctx, seconds)
        case "warn":
            ctx.warn("half way there")
        case "record":
            ctx.table("halves", [{"n": seconds / 2}])
            ctx.metric("halves", [seconds / 2, seconds])
        case "steady":
            await _steady(ctx, seconds)
    await asyncio.sleep(seconds)
    return _end(ctx, manner, seconds)


async def _deaf(seconds: float) -> None:
    """Goes on whatever it is told, as code does that swallows cancellations."""
    until_s = _now_s() + seconds
    while (left_s := until_s - _now_s()) > 0:
        try:
            await asyncio.sleep(left_s)
        except asyncio.CancelledError:
            continue


async def _stubborn(ctx: Context, seconds: float) -> None:
    """Has something to say when it is told to stop, and then fails."""
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        ctx.warn("stopped in the middle")
        ctx.metric("stopped", seconds)
        ctx.table("stopped", [{"n": seconds}])
        WITNESS.get().says(ctx, "stopped")
        raise ValueError("stopped in the middle") from None


async def _steady(ctx: Context, seconds: float) -> None:
    """Says how far it has come, sometimes faster than that is reported, and fails until it was tried twice."""
    for part in range(6):
        WITNESS.get().says(ctx, {"attempt": ctx.attempt, "part": part})
        await asyncio.sleep(seconds / 3 if part % 2 else 0)
    if ctx.attempt < 3:
        WITNESS.get().says(ctx, {"attempt": ctx.attempt, "part": "last"})
        raise ValueError("not there yet")


def _end(ctx: Context, manner: str, seconds: float) -> dict[str, Any]:
    match manner:
        case "fail":
            raise ValueError("as asked")
        case "never":
            raise NoRetry("as asked")
        case "broken":
            raise BrokenPlace("as asked")
        case "quit":
            ctx.abort("had enough")
        case "exit":
            raise SystemExit(3)
        case "wrong":
            return {"n": "no number"}
    return {"n": seconds}


INPUTS: Declared = {"manner": "string", "seconds": "number"}
OUTPUTS: Declared = {"n": "number"}


def _patient(name: str, limit: int | None = None) -> Pipeline:
    @pipeline(name, inputs=INPUTS, outputs=OUTPUTS, limit=limit)
    async def patient(ctx: Context, manner: str, seconds: float) -> dict[str, Any]:
        with WITNESS.get().entered(ctx, name, manner=manner, seconds=seconds):
            return await behave(ctx, manner, seconds)

    return patient


@pipeline(inputs=INPUTS, outputs=OUTPUTS)
def plain(ctx: Context, manner: str, seconds: float) -> dict[str, Any]:
    with WITNESS.get().entered(ctx, "plain", manner=manner, seconds=seconds):
        return _end(ctx, manner, seconds)


free = _patient("free")
planted = [_patient(f"planted-{name}") for name in get_args(Planted)]


@lru_cache
def pipelines(limit: int) -> Mapping[str, Pipeline]:
    """A release's: the digests of all but `tight` are the same in each."""
    from .stepped import stepped  # which is made of what is here

    return {one.name: one for one in (free, _patient(TIGHT, limit), plain, stepped(), *planted)}


def _now_s() -> float:
    return asyncio.get_running_loop().time()
