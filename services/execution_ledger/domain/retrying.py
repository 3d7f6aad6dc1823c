"""Retries: what follows an attempt that did not end well. Pure, and without chance: see `backoff_ms`."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from execution_ledger.messages import events
from execution_ledger.messages.events import Fact
from execution_ledger.messages.parts import Backoff, Failure, Policy, RequeueCause

if TYPE_CHECKING:
    from .execution import Execution

INFRASTRUCTURE_RETRIES = 3  # as often as an attempt may be lost: neither is the fault of the code
# What a runner reports of itself rather than of the code. An executor that cannot begin says `infrastructure`.
_INFRASTRUCTURE = frozenset({"infrastructure", "not_offered"})


def lost(execution: Execution, execution_id: str, now_ms: int) -> Fact:
    message = (
        f"its runner was lost in attempt {execution.attempt}, and its policy allows no more losses than that. "
        "The runner's machine may be at fault, or the pipeline itself: one that ends its process, needs more memory "
        "than there is, or blocks the runner's loop (an `async def` that does not await). The runner's log says more."
    )
    return again_or_failed(execution, execution_id, "lost", Failure(kind="lost", message=message), now_ms)


def timed_out(execution: Execution, execution_id: str, now_ms: int) -> Fact:
    message = f"attempt {execution.attempt} did not end within {in_seconds(execution.policy.timeout_ms)}"
    return again_or_failed(execution, execution_id, "timeout", Failure(kind="timeout", message=message), now_ms)


def released(execution: Execution, now_ms: int) -> Fact:
    """A runner that goes is nobody's failure, so this is not counted."""
    if execution.may_not_run_again:
        failure = Failure(kind="released", message="its runner was stopped, and it may run at most once")
        return events.Failed(attempt=execution.attempt, failure=failure)
    return _requeued(execution, "released", now_ms)


def again_or_failed(
    execution: Execution, execution_id: str, cause: RequeueCause, failure: Failure, now_ms: int
) -> Fact:
    retry = execution.retried(cause)
    if execution.may_not_run_again or failure.final or retry >= retries_of(execution.policy, cause):
        return events.Failed(attempt=execution.attempt, failure=failure)
    delay = delay_ms(execution.policy, cause, retry, seed=f"{execution_id}/{execution.attempt}")
    return _requeued(execution, cause, now_ms, delay, failure)


def cause_of(failure: Failure) -> RequeueCause:
    return "infrastructure" if failure.kind in _INFRASTRUCTURE else "failed"


def retries_of(policy: Policy, cause: RequeueCause) -> int:
    """How often an execution is queued again for this cause."""
    match cause:
        case "lost":
            return policy.losses_max
        case "failed":
            return policy.retries
        case "timeout":
            return policy.timeout_retries or 0
        case "infrastructure":
            retries = policy.infrastructure_retries
            return INFRASTRUCTURE_RETRIES if retries is None else retries
        case _:
            return 0


def delay_ms(policy: Policy, cause: RequeueCause, retry: int, seed: str) -> int:
    """Before the retry with this number (from 0). What was lost has waited for a lease already."""
    return 0 if cause == "lost" else backoff_ms(policy.backoff or Backoff(), retry, seed)


def backoff_ms(backoff: Backoff, retry: int, seed: str) -> int:
    """The jitter is drawn from the digest of `seed`: as good as chance, and the same whoever decides it again."""
    longest = min(max(backoff.max_ms, backoff.first_ms), backoff.first_ms * backoff.factor**retry)
    share = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big") / 2**64
    return round(longest * (1 - backoff.jitter * share))


def after(now_ms: int, duration_ms: int | None) -> int | None:
    return None if duration_ms is None else now_ms + duration_ms


def in_seconds(duration_ms: int | None) -> str:
    return f"{(duration_ms or 0) / 1_000:g} s"


def _requeued(
    execution: Execution, cause: RequeueCause, now_ms: int, delay: int = 0, failure: Failure | None = None
) -> Fact:
    """Its time in the queue is counted anew: what `queue_ttl_ms` bounds is one wait for a runner."""
    from_ms = now_ms + delay
    return events.Requeued(
        attempt=execution.attempt,
        cause=cause,
        not_before=from_ms if delay else None,
        expires_at=after(from_ms, execution.policy.queue_ttl_ms),
        failure=None if cause == "lost" else failure,
    )
