"""Retries and deadlines, worked out a second time: what each event must say, given what came before and its own time.

Nothing here has a tolerance, but for rounding: the ledger checks each deadline against its own time, which it writes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from execution_ledger.messages.events import (
    AbortRequested,
    Dispatched,
    Fact,
    Failed,
    Held,
    Queued,
    Requeued,
    Started,
    Unheld,
)
from execution_ledger.messages.parts import Backoff, Failure, Policy

_INFRASTRUCTURE_RETRIES = 3
_NOT_RETRIED = frozenset({"expired", "internal", "released"})  # what no policy speaks of
_ROUNDING_MS = 1


@dataclass(slots=True)
class Deadlines:
    """Of one execution, as its newest events set them (ms)."""

    policy: Policy
    not_before: int | None = None
    expires_at: int | None = None
    timeout_at: int | None = None
    requeues: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    is_whole: bool = True  # False: events of it are missing, so there may have been more requeues

    def lose_sight(self, fact: Fact) -> None:
        """Goes on from this fact, behind others that are missing."""
        self.is_whole = False
        self._take(fact)

    def follow(self, fact: Fact, now_ms: int, aborting: bool, has_begun_once: bool = False) -> Iterator[str]:
        """What is wrong with this fact, in words. `has_begun_once`: its code has begun, and may not begin again."""
        match fact:
            case Queued():
                yield from _differs("expires_at", fact.expires_at, _after(now_ms, self.policy.queue_ttl_ms))
            case Dispatched():
                yield from _differs("timeout_at", fact.timeout_at, _after(now_ms, self.policy.timeout_ms))
                if self.not_before is not None and now_ms < self.not_before:
                    yield f"it is dispatched {self.not_before - now_ms} ms before its retry may begin"
            case Started():
                wanted = None if aborting else _after(now_ms, self.policy.timeout_ms)
                yield from _differs("timeout_at", fact.timeout_at, wanted)
            case Requeued():
                yield from self._requeued(fact, now_ms)
            case AbortRequested():
                wanted = None if fact.attempt is None else now_ms + self.policy.abort_grace_ms
                yield from _differs("grace_until", fact.grace_until, wanted)
            case Unheld():
                begins_ms = max(now_ms, self.not_before or 0)
                yield from _differs("expires_at", fact.expires_at, _after(begins_ms, self.policy.queue_ttl_ms))
            case Failed():
                yield from self._failed(fact, now_ms)
                if not (aborting or has_begun_once) and self.is_whole:
                    yield from self._given_up(fact.failure)
        self._take(fact)

    def _take(self, fact: Fact) -> None:
        match fact:
            case Dispatched() | Started():
                self.timeout_at = fact.timeout_at
            case Queued():
                self.not_before, self.expires_at, self.timeout_at = None, fact.expires_at, None
            case Requeued():
                self.not_before, self.expires_at, self.timeout_at = fact.not_before, fact.expires_at, None
            case Held():
                self.expires_at = None
            case Unheld():
                self.expires_at = fact.expires_at

    def _requeued(self, fact: Requeued, now_ms: int) -> Iterator[str]:
        before = self.requeues[fact.cause]
        self.requeues[fact.cause] += 1
        if before >= _quota(self.policy, fact.cause):
            yield f"it is queued again for {fact.cause} more often than its policy allows"
        if fact.failure and fact.failure.final:
            yield "it is queued again after a failure that no retry can mend"
        if fact.cause == "timeout":
            yield from _too_early("timeout", self.timeout_at, now_ms)
        waits_ms = (fact.not_before or now_ms) - now_ms
        if self.is_whole and not _shortest(self.policy, fact.cause, before) <= waits_ms <= _longest(
            self.policy, fact.cause, before
        ):
            yield f"it waits {waits_ms} ms for its retry, which is not what its policy says"
        yield from _differs("expires_at", fact.expires_at, _after(now_ms + waits_ms, self.policy.queue_ttl_ms))

    def _failed(self, fact: Failed, now_ms: int) -> Iterator[str]:
        if fact.failure.kind == "expired" and fact.attempt is None:
            yield from _too_early("expired", self.expires_at, now_ms)
        if fact.failure.kind == "timeout":
            yield from _too_early("timeout", self.timeout_at, now_ms)

    def _given_up(self, failure: Failure) -> Iterator[str]:
        if failure.final or failure.kind in _NOT_RETRIED:
            return
        cause = _CAUSES.get(failure.kind, "failed")
        if self.requeues[cause] < _quota(self.policy, cause):
            yield f"it fails as {failure.kind!r}, and its policy allows another attempt"


_CAUSES = {"lost": "lost", "timeout": "timeout", "infrastructure": "infrastructure", "not_offered": "infrastructure"}


def _quota(policy: Policy, cause: str) -> float:
    infrastructure = policy.infrastructure_retries
    quotas = {
        "lost": policy.losses_max,
        "failed": policy.retries,
        "timeout": policy.timeout_retries or 0,
        "infrastructure": _INFRASTRUCTURE_RETRIES if infrastructure is None else infrastructure,
        "released": float("inf"),
    }
    return quotas.get(cause, 0)


def _longest(policy: Policy, cause: str, before: int) -> float:
    if cause in ("lost", "released"):
        return 0
    backoff = policy.backoff or Backoff()
    return min(max(backoff.max_ms, backoff.first_ms), backoff.first_ms * backoff.factor**before) + _ROUNDING_MS


def _shortest(policy: Policy, cause: str, before: int) -> float:
    jitter = (policy.backoff or Backoff()).jitter
    return (_longest(policy, cause, before) - _ROUNDING_MS) * (1 - jitter) - _ROUNDING_MS


def _after(now_ms: int, duration_ms: int | None) -> int | None:
    return None if duration_ms is None else now_ms + duration_ms


def _differs(name: str, said: int | None, wanted: int | None) -> Iterator[str]:
    if said != wanted:
        yield f"its {name} is {said}, and its policy makes it {wanted}"


def _too_early(what: str, deadline: int | None, now_ms: int) -> Iterator[str]:
    if deadline is None:
        yield f"it ends as {what!r}, and had no such deadline"
    elif now_ms < deadline:
        yield f"it ends as {what!r} {deadline - now_ms} ms before its time"
