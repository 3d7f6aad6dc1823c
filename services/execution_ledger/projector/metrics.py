"""What a projector measures: how far the views are behind the log, and how its transactions go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import Metric

from execution_ledger.log.lags import Lags
from execution_ledger.metrics import SECONDS, SIZES, AtScrape, gauge, lag_gauges, unstable_gauge


class ProjectorMetrics:
    """Looks at what its service keeps: who is served, who has halted, and how far each shard was read."""

    def __init__(
        self, registry: CollectorRegistry | None, serving: Sized, halted: Sized, lags: Mapping[int, Lags]
    ) -> None:
        registry = registry or CollectorRegistry()
        self._serving, self._halted, self._lags = serving, halted, lags
        self.batch_events = Histogram(
            "exledger_projector_batch_events", "Events in one transaction.", buckets=SIZES, registry=registry
        )
        self.commit_seconds = Histogram(
            "exledger_projector_commit_seconds",
            "Writing the rows of one batch, until Postgres has confirmed them.",
            buckets=SECONDS,
            registry=registry,
        )
        self.unknown = Counter(
            "exledger_projector_unknown_outcomes",
            "Transactions without an answer, and positions that another projector has moved.",
            ("shard",),
            registry=registry,
        )
        registry.register(AtScrape(self._work_out))

    def _work_out(self) -> Iterator[Metric]:
        yield gauge("exledger_projector_shards", "Shards that are projected.", len(self._serving))
        yield gauge("exledger_projector_halted_shards", "Shards that stopped for good.", len(self._halted))
        found = {lane: lag for lags in self._lags.values() for lane, lag in lags.lags().items()}
        yield from lag_gauges("exledger_projector", found)
        yield unstable_gauge("exledger_projector", found)
