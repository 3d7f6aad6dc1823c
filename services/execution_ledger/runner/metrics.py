"""What a runner measures: its slots, how attempts end and how long they take, and how its heartbeats are heard."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import Metric

from execution_ledger.messages.reports import (
    AnyReport,
    ReportAborted,
    ReportCompleted,
    ReportFailed,
    ReportReleased,
    ReportStarted,
)
from execution_ledger.metrics import SECONDS, AtScrape, counts, gauge

from .attempts import Attempts
from .logs import Logs
from .outbox import Outbox

ATTEMPT_SECONDS = (0.01, 0.1, 1, 10, 60, 600, 3_600, 21_600, 86_400)
OUTCOMES: dict[str, type[AnyReport]] = {
    "completed": ReportCompleted,
    "failed": ReportFailed,
    "aborted": ReportAborted,
    "released": ReportReleased,
}


class RunnerMetrics:
    """`silent_s`: since the last heartbeat that was acknowledged was sent."""

    def __init__(
        self,
        registry: CollectorRegistry | None,
        slots: int,
        attempts: Attempts,
        outbox: Outbox,
        logs: Logs,
        silent_s: Callable[[], float],
    ) -> None:
        registry = registry or CollectorRegistry()
        self._slots, self._attempts, self._outbox, self._silent_s = slots, attempts, outbox, silent_s
        self._logs = logs
        self.attempt_seconds = Histogram(
            "exledger_runner_attempt_seconds",
            "From entering an attempt's code to its end, also where its outcome interests nobody any more.",
            buckets=ATTEMPT_SECONDS,
            registry=registry,
        )
        self.heartbeat_seconds = Histogram(
            "exledger_runner_heartbeat_seconds",
            "From sending a heartbeat to its acknowledgement.",
            buckets=SECONDS,
            registry=registry,
        )
        self.unacknowledged = Counter(
            "exledger_runner_unacknowledged_heartbeats", "Heartbeats without an answer.", registry=registry
        )
        self.fenced = Counter(
            "exledger_runner_self_fenced",
            "How often it stopped all its work because nobody can have heard it.",
            registry=registry,
        )
        registry.register(AtScrape(self._work_out))

    def _work_out(self) -> Iterator[Metric]:
        reported = self._attempts.reported
        yield gauge("exledger_runner_slots", "Attempts that may run at once.", self._slots)
        yield gauge("exledger_runner_running", "Attempts whose code runs.", self._attempts.running)
        yield gauge("exledger_runner_waiting", "Attempts that wait for a slot here.", self._attempts.waiting)
        yield counts("exledger_runner_started", "Attempts started.", (), {(): reported[ReportStarted]})
        yield counts(
            "exledger_runner_ended",
            "Attempts whose end was reported, by outcome.",
            ("outcome",),
            {(outcome,): reported[kind] for outcome, kind in OUTCOMES.items()},
        )
        yield gauge("exledger_runner_outbox_bytes", "Reports on their way to the log.", self._outbox.bytes)
        yield gauge("exledger_runner_log_bytes", "Kept in memory of what running code has printed.", self._logs.bytes)
        yield counts(
            "exledger_runner_log_dropped_bytes",
            "Lines of running code that did not reach their followers.",
            (),
            {(): self._logs.live.dropped},
        )
        yield gauge(
            "exledger_runner_silent_seconds", "Since the last acknowledged heartbeat was sent.", self._silent_s()
        )
