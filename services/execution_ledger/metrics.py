"""What all services measure alike, and the page that shows it: one registry per process, handed down.

Counters and histograms are fed once per batch. Whatever is a state is worked out when somebody asks for the page, so it
costs the work nothing, and what is gone leaves no last value behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .answering import Answer, Reply, problem
from .log.lags import Lag
from .log.protocol import Lane

PAGE_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000)

Values = Mapping[tuple[str, ...], float]  # by the labels' values


class AtScrape(Collector):
    """Metrics that are worked out when somebody asks."""

    def __init__(self, work_out: Callable[[], Iterable[Metric]]) -> None:
        self._work_out = work_out

    def collect(self) -> Iterable[Metric]:
        return self._work_out()


def gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help_text, value=value)


def gauges(name: str, help_text: str, labels: tuple[str, ...], values: Values) -> Metric:
    return _filled(GaugeMetricFamily(name, help_text, labels=labels), values)


def counts(name: str, help_text: str, labels: tuple[str, ...], values: Values) -> Metric:
    """What a pure part has counted by itself."""
    return _filled(CounterMetricFamily(name, help_text, labels=labels), values)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, values: Values) -> Metric:
    for label_values, value in values.items():
        family.add_metric(label_values, value)
    return family


def lag_gauges(prefix: str, lags: Mapping[Lane, Lag]) -> Iterator[Metric]:
    yield _by_lane(
        f"{prefix}_lag_records",
        "Offsets that can be read and were not dealt with, transaction markers among them.",
        {lane: lag.records for lane, lag in lags.items()},
    )
    yield _by_lane(
        f"{prefix}_lag_seconds",
        "Age of the newest record that was dealt with; 0 where nothing is left.",
        {lane: lag.seconds for lane, lag in lags.items()},
    )


def unstable_gauge(prefix: str, lags: Mapping[Lane, Lag]) -> Metric:
    return _by_lane(
        f"{prefix}_unstable_records",
        "High watermark minus last stable offset: above 0 for long means that a transaction hangs.",
        {lane: lag.unstable for lane, lag in lags.items()},
    )


def _by_lane(name: str, help_text: str, values: Mapping[Lane, float]) -> Metric:
    found: Values = {(str(lane.partition), lane.topic.value): value for lane, value in values.items()}
    return gauges(name, help_text, ("shard", "topic"), found)


def new_registry() -> CollectorRegistry:
    """With what the operating system knows of this process: memory, CPU, open files."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a second sample for each counter, which nobody asks for
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


def page(registry: CollectorRegistry) -> bytes:
    return generate_latest(registry)


def answer_page(registry: CollectorRegistry) -> Answer:
    """Answers a path, see Answering."""

    async def answer(path: str) -> Reply:
        if path != "/metrics":
            return problem(HTTPStatus.NOT_FOUND, "Only /metrics is here.")
        return Reply(HTTPStatus.OK, page(registry), PAGE_TYPE)

    return answer
