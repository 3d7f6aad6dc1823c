"""What a dispatcher does at once where nothing hinders it: it tells runners what they have to know, and counts leases
to the tick. Without that its repairs come to the same a moment later, so no end shows it. Promises 9 and 10.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

from execution_ledger.log.protocol import Lane, Topic
from execution_ledger.messages.events import (
    Aborted,
    AbortRequested,
    Dispatched,
    Event,
    Failed,
    Queued,
    Requeued,
    Started,
)
from execution_ledger.messages.heartbeats import HEARTBEATS, DispatcherTick, RunnerBeat
from execution_ledger.messages.inbox import INBOX, Closed
from execution_ledger.verify.findings import Breach

from .cluster import INBOX_PARTITIONS, Cluster
from .loop import START_MS
from .plan import LEASE_S

AT_ONCE_MS = 100
NEVER_MS = 2**63
Timed = tuple[float, Event]


def check_prompt(cluster: Cluster, since_s: float, events: Sequence[Timed], lossless_s: float) -> Iterator[Breach]:
    """`events` since then, each with its time from there on; until `lossless_s` no message to a runner is lost."""
    since_ms = START_MS + round(since_s * 1000)
    told_ms = _told_ms(cluster)
    sent_to: dict[str, str] = {}
    once = {event.subject for _, event in events if isinstance(event.data, Queued) and _runs_once(event.data)}
    for at_s, event in events:
        fact, at_ms = event.data, since_ms + round(at_s * 1000)
        if isinstance(fact, Dispatched):
            sent_to[event.subject] = fact.runner
        if _is_lost(fact):
            yield from _check_lease(cluster, event, sent_to[event.subject])
        elif (kind := _to_tell(event, once)) and (kind == "closed.v1" or at_s < lossless_s):
            times_ms = told_ms.get((kind, event.subject, fact.attempt), [NEVER_MS])
            if times_ms[0] > at_ms + AT_ONCE_MS:
                what = f"The runner of attempt {fact.attempt} was not told at once ({kind})."
                yield Breach(9, event.shard, event.sequence, event.subject, what)
            elif kind == "start.v1" and len(times_ms) > 1:
                what = f"Attempt {fact.attempt} was sent to its runner {len(times_ms)} times."
                yield Breach(9, event.shard, event.sequence, event.subject, what)


def _to_tell(event: Event, once: Set[str]) -> str | None:
    """What a runner has to be told of this event, since it does not know it yet."""
    match event.data:
        case Dispatched():
            return "start.v1"
        case Started() if event.subject in once:
            return "confirmed.v1"
        case AbortRequested(attempt=int()):
            return "abort.v1"
        case Requeued() | Failed(attempt=int()) | Aborted(attempt=int()) if event.commandid is not None:
            return "closed.v1"
    return None


def _runs_once(fact: Queued) -> bool:
    return fact.policy.delivery == "at_most_once"


def _is_lost(fact: Any) -> bool:
    match fact:
        case Requeued(cause="lost") | Aborted(outcome="lost"):
            return True
        case Failed(failure=failure):
            return bool(failure.kind == "lost")
    return False


def _told_ms(cluster: Cluster) -> Mapping[tuple[str, str, int], Sequence[int]]:
    """By kind of message and attempt, when its runner was told."""
    found = defaultdict[tuple[str, str, int], list[int]](list)
    for partition in range(INBOX_PARTITIONS):
        for record in cluster.log.partition(Lane(Topic.INBOX, partition)).records:
            message = INBOX.validate_json(record.value or b"")
            for token in message.tokens if isinstance(message, Closed) else [message.token]:
                found[message.type, token.execution_id, token.attempt].append(record.time_ms)
    return found


def _check_lease(cluster: Cluster, event: Event, runner: str) -> Iterator[Breach]:
    """Its lease ends with the first tick that is a lease behind the first after its last heartbeat."""
    ticks: list[int] = []
    for record in cluster.log.partition(Lane(Topic.HEARTBEATS, 0)).records:
        heard = HEARTBEATS.validate_json(record.value or b"")
        if isinstance(heard, RunnerBeat) and heard.process == runner:
            ticks.clear()
        elif isinstance(heard, DispatcherTick) and heard.process == event.actor:
            ticks.append(record.time_ms)
    due_ms = next((at_ms for at_ms in ticks if at_ms - ticks[0] >= 1000 * LEASE_S), 0)
    if not due_ms <= event.recordedtime <= due_ms + AT_ONCE_MS:
        what = f"It was held for lost {event.recordedtime - due_ms} ms after the lease of {runner} was over."
        yield Breach(10, event.shard, event.sequence, event.subject, what)
