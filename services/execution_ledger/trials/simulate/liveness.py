"""What is no progress although everything moves: shards that change hands for ever, inboxes that fill with the same,
deadlines that everybody has forgotten. Promise 9.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from pydantic_core import from_json

from execution_ledger.log.protocol import Lane, Topic
from execution_ledger.messages.events import (
    AbortRequested,
    Dispatched,
    Event,
    Fact,
    Quarantined,
    Queued,
    Requeued,
    ShardClaimed,
    Started,
    Warned,
)
from execution_ledger.verify.findings import Breach

from .cluster import INBOX_PARTITIONS, Cluster
from .loop import START_MS

OWNERS_MAX, OWNERS_S = 8, 5.0  # whoever is fenced comes back after two ticks, of a second each
COPIES_MAX = 20  # of a start under one claim: the sends whose answer was lost, or that were lost after a reading
OVERDUE_S = 30.0  # in which a dispatcher claims, and asks again for what it has asked for in vain

Timed = tuple[float, Event]


def check_liveness(cluster: Cluster, events: Sequence[Timed]) -> Iterator[Breach]:
    yield from _check_owners(events)
    yield from _check_inboxes(cluster)
    if not cluster.clock_jumped:
        yield from check_overdue(cluster.healed_s, events, OVERDUE_S)


def _check_owners(events: Sequence[Timed]) -> Iterator[Breach]:
    """Two ledgers that both mean to be placed do not take a shard from each other for ever."""
    changes: defaultdict[int, list[float]] = defaultdict(list)
    owners: dict[int, str] = {}
    for at_s, event in events:
        if isinstance(event.data, ShardClaimed) and owners.get(event.shard) != event.data.owner:
            owners[event.shard] = event.data.owner
            changes[event.shard].append(at_s)
    for shard, times in changes.items():
        for first_s, last_s in zip(times, times[OWNERS_MAX:], strict=False):
            if last_s - first_s < OWNERS_S:
                yield Breach(9, shard, None, None, f"It changed hands {OWNERS_MAX} times from {first_s:.3f} s on.")
                break


def _check_inboxes(cluster: Cluster) -> Iterator[Breach]:
    """What is on its way to a runner that does not read is not sent again with each of its heartbeats."""
    copies = Counter[tuple[str, int, int]]()
    for partition in range(INBOX_PARTITIONS):
        for record in cluster.log.partition(Lane(Topic.INBOX, partition)).records:
            message = from_json(record.value or b"{}")
            if message["type"] == "start.v1":
                token = message["token"]
                copies[token["execution_id"], token["attempt"], message["claim"]] += 1
    for (execution, attempt, claim), count in copies.items():
        if count > COPIES_MAX:
            what = f"Attempt {attempt} was sent to its runner {count} times under claim {claim}."
            yield Breach(9, 0, None, execution, what)


def check_overdue(since_s: float, events: Sequence[Timed], late_s: float) -> Iterator[Breach]:
    """Once the faults have stopped, nothing goes on for long beyond its deadline."""
    due_s: dict[str, float] = {}
    for at_s, event in events:
        if event.version is None or isinstance(event.data, Warned):
            continue
        latest_s = max(due_s.pop(event.subject, at_s), since_s) + late_s
        if at_s > latest_s and not isinstance(event.data, Quarantined):
            what = f"It went on until {at_s:.3f} s, {at_s - latest_s:.1f} s longer than any deadline lets it."
            yield Breach(9, event.shard, event.sequence, event.subject, what)
        if (deadline := _deadline(event.data)) is not None:
            due_s[event.subject] = (deadline - START_MS) / 1000


def _deadline(fact: Fact) -> int | None:
    match fact:
        case Queued() | Requeued():
            return fact.expires_at
        case Dispatched() | Started():
            return fact.timeout_at
        case AbortRequested():
            return fact.grace_until
    return None
