"""Limits, over all shards: how many of a pipeline were under way when one more was dispatched. A part of promise 6.

Shards have no common sequence, so recorded time orders their events, and within a millisecond ends come first: a breach
shorter than that cannot be seen in a log, nor one that brokers' clocks hide.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..findings import Breach

LEARNING_MS = 10_000  # a dispatcher reads a new version's limit a moment later; starts are then under way already


class Move(NamedTuple):
    """An execution goes onto a runner, or leaves it."""

    time_ms: int
    begins: bool
    pipeline: str
    shard: int
    sequence: int
    execution: str


class Limit(NamedTuple):
    """A registration: this pipeline's limit from then on."""

    time_ms: int
    pipeline: str
    limit: int | None


def check_limits(moves: Iterable[Move], limits: Iterable[Limit]) -> Iterator[Breach]:
    by_pipeline: dict[str, list[Move]] = defaultdict(list)
    registered: dict[str, list[Limit]] = defaultdict(list)
    for limit in limits:
        registered[limit.pipeline].append(limit)
    for move in moves:
        if any(limit.limit for limit in registered[move.pipeline]):
            by_pipeline[move.pipeline].append(move)
    for pipeline, its_moves in by_pipeline.items():
        yield from _check_pipeline(pipeline, its_moves, sorted(registered[pipeline], key=_time))


def _check_pipeline(pipeline: str, moves: list[Move], limits: list[Limit]) -> Iterator[Breach]:
    running = 0
    for move in sorted(_lasting(moves)):
        running += 1 if move.begins else -1
        limit = _in_force(limits, move.time_ms)
        if move.begins and limit is not None and running > limit:
            what = f"{running} of {pipeline!r} were under way, and its limit is {limit}."
            yield Breach(6, move.shard, move.sequence, move.execution, what)


def _lasting(moves: list[Move]) -> Iterator[Move]:
    """Without what began and ended within a millisecond: nobody can say what it overlapped.

    `moves` of one execution are in their order; in a damaged log a beginning may be missing.
    """
    begun: dict[str, Move] = {}
    for move in moves:
        if move.begins:
            begun[move.execution] = move
        elif (begin := begun.pop(move.execution, None)) and begin.time_ms < move.time_ms:
            yield from (begin, move)
    yield from begun.values()


def _in_force(limits: list[Limit], at_ms: int) -> int | None:
    """The highest that a dispatcher may have known at that time; None where that is none at all."""
    newer = [limit.limit for limit in limits if at_ms - LEARNING_MS < limit.time_ms <= at_ms]
    older = [limit.limit for limit in limits if limit.time_ms <= at_ms - LEARNING_MS]
    known = older[-1:] + newer
    return None if None in known or not known else max(limit for limit in known if limit is not None)


def _time(limit: Limit) -> int:
    return limit.time_ms
