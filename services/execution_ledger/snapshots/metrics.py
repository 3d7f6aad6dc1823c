"""What a service shows of its snapshots: whether they are written, and how much a restart would have to fold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client.core import Metric

from ..metrics import counts, gauges
from .keeping import EVENT_S, Keeper, Tail

States = dict[tuple[str, ...], tuple[str, int]]  # by labels' values: the name of its snapshots, and its events by now


def snapshot_metrics(
    prefix: str, keeper: Keeper[Any] | None, labels: tuple[str, ...], states: States
) -> Iterator[Metric]:
    tails = {values: _tail(keeper, *state) for values, state in states.items()}
    yield counts(
        f"{prefix}_snapshots",
        "Snapshots written, or failed to be.",
        ("outcome",),
        {("written",): keeper.written if keeper else 0, ("failed",): keeper.failed if keeper else 0},
    )
    yield gauges(
        f"{prefix}_snapshot_behind_events",
        "Events since the newest snapshot, all of them where there is none: a restart folds these.",
        labels,
        {values: tail.events for values, tail in tails.items()},
    )
    yield gauges(
        f"{prefix}_snapshot_behind_seconds",
        "How long folding these would take, at the rate of the last replay.",
        labels,
        {values: tail.seconds for values, tail in tails.items()},
    )


def _tail(keeper: Keeper[Any] | None, name: str, events: int) -> Tail:
    return keeper.tail(name, events) if keeper else Tail(events, events * EVENT_S)
