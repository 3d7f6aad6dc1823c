"""What a dispatcher does at once where nothing hinders it: it tells a runner what was ended without it, and counts
leases to the tick. Without that its repairs come to the same a moment later, so no end shows it. Promises 9 and 10.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from execution_ledger.log.protocol import Lane, Topic
from execution_ledger.messages.events import Aborted, Dispatched, Event, Failed, Requeued
from execution_ledger.messages.heartbeats import HEARTBEATS, DispatcherTick, RunnerBeat
from execution_ledger.messages.inbox import INBOX, Closed
from execution_ledger.verify.findings import Breach

from .cluster import INBOX_PARTITIONS, Cluster
from .loop import START_MS
from .plan import LEASE_S

AT_ONCE_MS = 100
NEVER_MS = 2**63
Timed = tuple[float, Event]
Token = tuple[str, int]


def check_prompt(cluster: Cluster, since_s: float, events: Sequence[Timed]) -> Iterator[Breach]:
    """`events` since then, each with its time from there on."""
    since_ms = START_MS + round(since_s * 1000)
    told_ms = _told_ms(cluster)
    sent_to: dict[str, str] = {}
    for at_s, event in events:
        fact, at_ms = event.data, since_ms + round(at_s * 1000)
        if isinstance(fact, Dispatched):
            sent_to[event.subject] = fact.runner
        elif _is_lost(fact):
            yield from _check_lease(cluster, event, sent_to[event.subject])
        elif _ends_unheard(event) and told_ms.get((event.subject, fact.attempt), NEVER_MS) > at_ms + AT_ONCE_MS:
            what = f"The runner of attempt {fact.attempt} was not told at once that it is over."
            yield Breach(9, event.shard, event.sequence, event.subject, what)


def _ends_unheard(event: Event) -> bool:
    """Whether it ends an attempt that a runner has and has not reported the end of."""
    fact = event.data
    return event.commandid is not None and isinstance(fact, Requeued | Failed | Aborted) and fact.attempt is not None


def _is_lost(fact: Any) -> bool:
    match fact:
        case Requeued(cause="lost") | Aborted(outcome="lost"):
            return True
        case Failed(failure=failure):
            return bool(failure.kind == "lost")
    return False


def _told_ms(cluster: Cluster) -> Mapping[Token, int]:
    """When an attempt's runner was first told that it is closed."""
    found: dict[Token, int] = {}
    for partition in range(INBOX_PARTITIONS):
        for record in cluster.log.partition(Lane(Topic.INBOX, partition)).records:
            message = INBOX.validate_json(record.value or b"")
            for token in message.tokens if isinstance(message, Closed) else ():
                found.setdefault((token.execution_id, token.attempt), record.time_ms)
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
