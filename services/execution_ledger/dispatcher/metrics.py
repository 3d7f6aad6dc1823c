"""What a dispatcher measures: who waits and for how long, what is free, and what it asked of the ledgers.

All of it is worked out from the desk when somebody asks; the queue is then walked once, some 20 ms for 100,000 waiting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from execution_ledger.log.lags import Lags
from execution_ledger.log.protocol import Topic
from execution_ledger.metrics import AtScrape, counts, gauge, gauges, lag_gauges, unstable_gauge

from .desk import Desk
from .keeping import Keeping
from .post import Post

LINES_MAX = 200  # of the queue, the longest; what else waits is one line more, so that labels are bounded
OTHER = ("other", "other")


class _Line(NamedTuple):
    waiting: int
    oldest_ms: int


def show(registry: CollectorRegistry, desk: Desk, post: Post, lags: Lags, keeping: Keeping) -> None:
    registry.register(AtScrape(partial(_work_out, desk, post, lags)))
    registry.register(AtScrape(keeping.metrics))


def _work_out(desk: Desk, post: Post, lags: Lags) -> Iterator[Metric]:
    yield gauge("exledger_dispatcher_claim", "Under which it dispatches; 0 while it stands by.", desk.acting or 0)
    yield from _queue(desk)
    yield from _slots(desk)
    yield from _asks(desk, post)
    of_events = {lane: lag for lane, lag in lags.lags().items() if lane.topic is Topic.EVENTS}
    yield from lag_gauges("exledger_dispatcher", of_events)
    yield unstable_gauge("exledger_dispatcher", of_events)


def _queue(desk: Desk) -> Iterator[Metric]:
    lines, now_ms = _lines(desk), desk.picture.now_ms
    labels = ("pool", "pipeline")
    yield gauges(
        "exledger_dispatcher_queue_depth",
        "Executions that wait for a slot.",
        labels,
        {key: line.waiting for key, line in lines.items()},
    )
    yield gauges(
        "exledger_dispatcher_queue_oldest_seconds",
        "Since the one that waits longest was queued, in the log's time.",
        labels,
        {key: max(0, now_ms - line.oldest_ms) / 1000 for key, line in lines.items()},
    )


def _slots(desk: Desk) -> Iterator[Metric]:
    picture = desk.picture
    fleet = picture.fleet
    runners = [runner for name in fleet.names() if (runner := fleet.get(name))]
    states = Counter({"ready": 0, "draining": 0, "silent": 0})
    states.update(fleet.state(runner, picture.now_ms) for runner in runners)
    yield gauges(
        "exledger_dispatcher_runners",
        "Runners that are heard of.",
        ("state",),
        {(state,): count for state, count in states.items()},
    )
    yield gauge("exledger_dispatcher_slots", "Slots of all runners.", sum(runner.beat.slots for runner in runners))
    yield gauge("exledger_dispatcher_slots_free", "Slots that may be given out now.", desk.room().free)


def _asks(desk: Desk, post: Post) -> Iterator[Metric]:
    asking = desk.asking
    yield counts(
        "exledger_dispatcher_asks",
        "Commands asked of the ledgers; `again`: the same Dispatch, because its fate was unknown.",
        ("command",),
        {(kind,): asking.tally[kind] for kind in ("dispatch", "expire", "again")},
    )
    yield counts(
        "exledger_dispatcher_expiries",
        "Deadlines and losses that a ledger was asked to act on, by cause.",
        ("cause",),
        {(cause,): count for cause, count in asking.expiries.items()},
    )
    yield counts("exledger_dispatcher_refusals", "Asks that a ledger refused.", (), {(): asking.tally["refused"]})
    yield counts(
        "exledger_dispatcher_unknown_outcomes",
        "Records sent without an answer.",
        ("topic",),
        {(topic,): count for topic, count in post.unknown.items()},
    )


def _lines(desk: Desk) -> dict[tuple[str, str], _Line]:
    lines: dict[tuple[str, str], _Line] = {}
    for group, places in desk.picture.queue.groups():
        oldest_ms = min(place.since_ms for place in places)
        _join(lines, (group.pool, group.pipeline), _Line(len(places), oldest_ms))
    for key in sorted(lines, key=lambda key: -lines[key].waiting)[LINES_MAX:]:
        _join(lines, OTHER, lines.pop(key))
    return lines


def _join(lines: dict[tuple[str, str], _Line], key: tuple[str, str], line: _Line) -> None:
    known = lines.get(key)
    lines[key] = _Line(known.waiting + line.waiting, min(known.oldest_ms, line.oldest_ms)) if known else line
