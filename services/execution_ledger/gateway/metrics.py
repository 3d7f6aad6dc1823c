"""What the gateway measures: requests, problems, decisions, and how far the views are behind what it has read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import Metric

from execution_ledger.metrics import AtScrape, gauge, gauges, page

from .edge.problems import Problem

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Now(NamedTuple):
    """How a gateway stands; the mappings are by shard."""

    followers: int
    undecided: Mapping[int, int]
    views_lag: Mapping[int, int]
    views_lag_s: float
    submits_at_once: int


class Metrics:
    def __init__(self, registry: CollectorRegistry | None, now: Callable[[], Now]) -> None:
        self._registry = registry or CollectorRegistry()
        self._now = now
        labels = ("method", "route", "status")
        self.requests = Counter("exledger_gateway_requests", "Requests answered.", labels, registry=self._registry)
        self.request_seconds = Histogram(
            "exledger_gateway_request_seconds",
            "From a request's arrival to its last byte, streams left out.",
            ("method", "route"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.decide_seconds = Histogram(
            "exledger_gateway_decide_seconds",
            "From sending a command to reading its trace.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._problems = Counter(
            "exledger_gateway_problems",
            "Requests answered with a problem, by its kind, and by the ledger's code where the ledger refused.",
            ("problem", "code"),
            registry=self._registry,
        )
        self._registry.register(AtScrape(self._work_out))

    def problem(self, problem: Problem) -> None:
        self._problems.labels(problem.kind, problem.more.get("code", "")).inc()

    def page(self) -> bytes:
        return page(self._registry)

    def _work_out(self) -> Iterator[Metric]:
        now = self._now()
        yield gauge("exledger_gateway_followers", "Open event streams.", now.followers)
        yield gauges(
            "exledger_gateway_undecided_commands", "Commands on their way.", ("shard",), _by_shard(now.undecided)
        )
        yield gauges(
            "exledger_gateway_views_lag_events",
            "Events that this gateway has read and the views do not yet include.",
            ("shard",),
            _by_shard(now.views_lag),
        )
        yield gauge(
            "exledger_gateway_views_behind_seconds",
            "For how long the views have not included what this gateway had read.",
            now.views_lag_s,
        )
        yield gauge("exledger_gateway_submits_at_once", "Requests for executions under way.", now.submits_at_once)


def _by_shard(values: Mapping[int, int]) -> dict[tuple[str, ...], float]:
    return {(str(shard),): value for shard, value in values.items()}
