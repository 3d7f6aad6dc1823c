"""What waits where, and which runners are there: the whole picture in lines that a person can read."""

from __future__ import annotations

from typing import NamedTuple

from execution_ledger.messages.explanation import (
    ITEMS_MAX,
    TOKENS_MAX,
    QueueLine,
    QueueReport,
    RunnerLine,
    RunnersReport,
    TokenLine,
)

from .board import Phase, Token
from .desk import Desk
from .explain import offer
from .fleet import Runner
from .queue import Group


class _Key(NamedTuple):
    pool: str
    pipeline: str
    digest: str


class _Line(NamedTuple):
    """`oldest_ms` is when the first of them was queued; `example` is any of them."""

    waiting: int
    oldest_ms: int
    example: str


def queue_report(desk: Desk) -> QueueReport:
    lines = _lines(desk)
    longest = sorted(lines, key=lambda key: (-lines[key].waiting, key))
    return QueueReport(
        waiting=len(desk.picture.queue),
        items=[_queue_line(desk, key, lines[key]) for key in longest[:ITEMS_MAX]],
        left_off=max(0, len(lines) - ITEMS_MAX),
    )


def runners_report(desk: Desk) -> RunnersReport:
    fleet = desk.picture.fleet
    names = sorted(fleet.names())
    found = [runner for name in names[:ITEMS_MAX] if (runner := fleet.get(name))]
    return RunnersReport(
        items=[_runner_line(desk, runner) for runner in found], left_off=max(0, len(names) - ITEMS_MAX)
    )


def _lines(desk: Desk) -> dict[_Key, _Line]:
    lines: dict[_Key, _Line] = {}
    for group, places in desk.picture.queue.groups():
        oldest = min(places, key=lambda place: place.since_ms)
        key, of_shard = _key(group), _Line(len(places), oldest.since_ms, oldest.execution_id)
        lines[key] = _joined(lines[key], of_shard) if key in lines else of_shard
    return lines


def _key(group: Group) -> _Key:
    return _Key(group.pool, group.pipeline, group.digest)


def _joined(one: _Line, other: _Line) -> _Line:
    return _Line(one.waiting + other.waiting, min(one.oldest_ms, other.oldest_ms), one.example)


def _queue_line(desk: Desk, key: _Key, line: _Line) -> QueueLine:
    picture = desk.picture
    example = picture.board.get(line.example)
    assert example, "what is queued is on the board"
    return QueueLine(
        pool=key.pool,
        pipeline=key.pipeline,
        version=example.version,
        waiting=line.waiting,
        oldest_ms=max(0, picture.now_ms - line.oldest_ms),
        limit=picture.limits.of(key.pipeline),
        used=picture.slots.running(key.pipeline),
        runners=offer(desk, key.pool, key.digest),
    )


def _runner_line(desk: Desk, runner: Runner) -> RunnerLine:
    beat, slots = runner.beat, desk.picture.slots
    tokens = _token_lines(desk, runner)
    return RunnerLine(
        process=beat.process,
        pool=beat.pool,
        slots=beat.slots,
        taken=slots.used_by(beat.process),
        held=len(slots.held_by(beat.process)),
        state=desk.picture.fleet.state(runner, desk.picture.now_ms),
        silent_ms=max(0, desk.picture.now_ms - runner.beat_ms),
        offers=beat.offers,
        tokens=tokens[:TOKENS_MAX],
        tokens_left_off=max(0, len(tokens) - TOKENS_MAX),
    )


def _token_lines(desk: Desk, runner: Runner) -> list[TokenLine]:
    """What it has, the newest word on it; then what it only lists."""
    live = desk.picture.board.live_on(runner.beat.process)
    lines = [
        TokenLine(
            id=execution.id,
            attempt=execution.attempt,
            name=execution.name,
            phase="started" if execution.phase is Phase.STARTED else "dispatched",
        )
        for execution in live.values()
    ]
    return lines + [
        TokenLine(id=held.execution_id, attempt=held.attempt, phase=held.phase)
        for held in runner.beat.tokens
        if Token(held.execution_id, held.attempt) not in live
    ]
