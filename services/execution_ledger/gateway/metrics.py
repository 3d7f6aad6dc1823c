"""What the gateway measures about itself, in a registry of its own, so that two of them fit into one process."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    def __init__(self) -> None:
        self._registry = CollectorRegistry()
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
        self.problems = Counter(
            "exledger_gateway_problems",
            "Problems told, by their type: why requests were refused.",
            ("problem",),
            registry=self._registry,
        )
        self.followers = Gauge("exledger_gateway_followers", "Open event streams.", registry=self._registry)
        self.undecided = Gauge(
            "exledger_gateway_undecided_commands", "Commands on their way.", ("shard",), registry=self._registry
        )
        self.views_behind = Gauge(
            "exledger_gateway_views_behind_seconds",
            "For how long the views have not included what this gateway had read; 0 without Postgres.",
            registry=self._registry,
        )
        self.submits_at_once = Gauge(
            "exledger_gateway_submits_at_once", "Requests for executions under way.", registry=self._registry
        )
        self.views_lag = Gauge(
            "exledger_gateway_views_lag_events",
            "Events that this gateway has read and the views do not yet include.",
            ("shard",),
            registry=self._registry,
        )

    def page(self) -> bytes:
        return generate_latest(self._registry)
