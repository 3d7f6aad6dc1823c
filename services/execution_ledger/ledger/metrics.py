"""What a ledger measures: how much it decides and how fast, what it refuses, and how its shards stand."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import Metric

from execution_ledger.log.lags import Lag
from execution_ledger.log.protocol import Lane
from execution_ledger.metrics import SECONDS, SIZES, AtScrape, gauge, gauges, lag_gauges
from execution_ledger.snapshots.keeping import Keeper
from execution_ledger.snapshots.metrics import States, snapshot_metrics

from .keeping import name_of
from .recording import Decided
from .shard import ShardState


class Standing(NamedTuple):
    """How one shard that is served stands now."""

    state: ShardState
    lags: Mapping[Lane, Lag]


class LedgerMetrics:
    """`standings` tells of the shards that are served; `now_ms` is this machine's clock; `keeper` writes snapshots."""

    def __init__(
        self,
        registry: CollectorRegistry | None,
        standings: Callable[[], Mapping[int, Standing]],
        now_ms: Callable[[], int],
        keeper: Keeper[ShardState] | None,
    ) -> None:
        registry = registry or CollectorRegistry()
        self._standings, self._now_ms, self._keeper = standings, now_ms, keeper
        self.takeovers = _of_shard("takeovers", "Shards taken over, also anew after trouble.", registry)
        self.fenced = _of_shard("fenced", "Shards lost to another ledger.", registry)
        self.unknown = _of_shard("unknown_outcomes", "Commits without an answer.", registry)
        self._refusals = Counter(
            "exledger_ledger_refusals",
            "Records refused, by the code their senders see; `internal`: deciding failed, `unreadable`: no message.",
            ("code",),
            registry=registry,
        )
        self._ignored = Counter("exledger_ledger_ignored_reports", "Reports that changed nothing.", registry=registry)
        self._records = _of_batch("batch_records", "Commands and reports decided at once.", SIZES, registry)
        self._events = _of_batch("batch_events", "Events in one commit.", SIZES, registry)
        self._decide = _of_batch("decide_seconds", "Deciding one batch.", SECONDS, registry)
        self._commit = _of_batch("commit_seconds", "Committing one batch to the log.", SECONDS, registry)
        registry.register(AtScrape(self._work_out))

    def batch(self, records: int, decided: Decided, decide_s: float, commit_s: float) -> None:
        """Once it is committed; without events there was nothing to commit."""
        self._records.observe(records)
        self._decide.observe(decide_s)
        if decided.outgoing:
            self._events.observe(len(decided.outgoing))
            self._commit.observe(commit_s)
        if decided.ignored:
            self._ignored.inc(decided.ignored)
        for code, count in Tally(decided.refused).items():
            self._refusals.labels(code).inc(count)

    def _work_out(self) -> Iterator[Metric]:
        standings, now_ms = self._standings(), self._now_ms()
        states = {(str(shard),): standing.state for shard, standing in standings.items()}
        yield gauge("exledger_ledger_shards", "Shards served by this process.", len(states))
        yield gauges(
            "exledger_ledger_live_executions",
            "Executions that have not ended.",
            ("shard",),
            {shard: len(state.live) for shard, state in states.items()},
        )
        yield gauges(
            "exledger_ledger_sequence",
            "Sequence of the newest event.",
            ("shard",),
            {shard: state.sequence for shard, state in states.items()},
        )
        yield gauges(
            "exledger_ledger_newest_event_age_seconds",
            "Since the recorded time of the newest event.",
            ("shard",),
            {shard: max(0, now_ms - state.recorded_ms) / 1000 for shard, state in states.items() if state.recorded_ms},
        )
        lags = {lane: lag for standing in standings.values() for lane, lag in standing.lags.items()}
        yield from lag_gauges("exledger_ledger", lags)
        kept: States = {(str(shard),): (name_of(shard), one.state.sequence) for shard, one in standings.items()}
        yield from snapshot_metrics("exledger_ledger", self._keeper, ("shard",), kept)


def _of_shard(name: str, help_text: str, registry: CollectorRegistry) -> Counter:
    return Counter(f"exledger_ledger_{name}", help_text, ("shard",), registry=registry)


def _of_batch(name: str, help_text: str, buckets: tuple[float, ...], registry: CollectorRegistry) -> Histogram:
    return Histogram(f"exledger_ledger_{name}", help_text, buckets=buckets, registry=registry)
