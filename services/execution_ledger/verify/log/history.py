"""A whole log, checked in one process: what the simulator and the tests call. `workers.py` does the same over Kafka."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set

from execution_ledger.messages.ids import CATALOG_SHARD
from execution_ledger.settings import LedgerSettings

from ..findings import Breach, Findings
from .batches import check_batches
from .business import check_places
from .jobs import check_jobs
from .limits import check_limits
from .shard import WHOLE, Known, ShardCheck, ShardFindings

Stored = tuple[bytes, int]  # an event's own bytes, and their offset


def check_log(events: Mapping[int, Iterable[Stored]], settings: LedgerSettings | None = None) -> Findings:
    """All shards, by number, each from its first event on; nobody wrote to their lanes in transactions."""
    shards = check_shards(events, settings or LedgerSettings())
    findings = join(shards)
    findings.breaches.extend(gap.breach for found in shards for gap in found.gaps)
    return findings


def check_shards(
    events: Mapping[int, Iterable[Stored]], settings: LedgerSettings, wanted: Set[str] = frozenset()
) -> list[ShardFindings]:
    """The catalog first, for what the others are judged by."""
    catalog = check_shard(CATALOG_SHARD, events.get(CATALOG_SHARD, ()), settings, wanted=wanted)
    known = known_of(catalog)
    others = sorted(events.keys() - {CATALOG_SHARD})
    return [catalog, *(check_shard(shard, events[shard], settings, known, wanted) for shard in others)]


def check_shard(
    shard: int,
    events: Iterable[Stored],
    settings: LedgerSettings,
    known: Known | None = None,
    wanted: Set[str] = frozenset(),
    settled: int = WHOLE,
) -> ShardFindings:
    check = ShardCheck(shard, settings, known, wanted, settled)
    for raw, offset in events:
        check.feed(raw, offset)
    return check.finish()


def known_of(catalog: ShardFindings) -> Known:
    limited = frozenset(limit.pipeline for limit in catalog.limits if limit.limit is not None)
    return Known(limited, catalog.declared)


def join(shards: list[ShardFindings], *, one_clock: bool = True) -> Findings:
    """`shards` in the order of their numbers, the catalog's first. `one_clock`: False where the brokers' clocks went
    back, for then no log can tell which of two shards' events was first.
    """
    findings = Findings(len(shards))
    for found in shards:
        findings.events += found.events
        findings.executions += found.executions
        findings.breaches.join(found.breaches)
    settled = {found.shard: found.settled for found in shards}
    for breach in _over_all(shards, one_clock):
        if breach.sequence is None or breach.sequence <= settled[breach.shard]:
            findings.breaches.add(breach)
    return findings


def _over_all(shards: list[ShardFindings], one_clock: bool) -> Iterator[Breach]:
    """What no shard can judge alone."""
    catalog = shards[0]
    yield from _check_same_log([found for found in shards if found.events], len(shards))
    if one_clock:
        yield from check_limits((move for found in shards for move in found.moves), catalog.limits)
    yield from check_places((found.shard, found.business) for found in shards)
    all_there = not any(found.incomplete for found in shards)
    yield from check_jobs(((found.shard, found.jobs) for found in shards), all_there=all_there)
    yield from check_batches(((found.shard, found.batches) for found in shards), all_there=all_there)
    numbered = {claim.claim: claim.dispatcher for claim in catalog.claims}
    for claim in (claim for found in shards[1:] for claim in found.claims):
        if (
            catalog.events
            and not (catalog.incomplete and claim.claim not in numbered)
            and numbered.get(claim.claim) != claim.dispatcher
        ):
            what = f"dispatcher.claimed: shard 0 never gave claim {claim.claim} to {claim.dispatcher}."
            yield Breach(6, claim.shard, claim.sequence, None, what)


def _check_same_log(shards: list[ShardFindings], shards_there: int) -> Iterator[Breach]:
    """A shard whose first event is unreadable says nothing of its log, and has been named for that."""
    for found in shards:
        first = shards[0]
        if found.log_id != first.log_id:
            what = f"shard.created: it belongs to log {found.log_id!r}, and shard {first.shard} to {first.log_id!r}."
            yield Breach(1, found.shard, 1, None, what)
        elif found.shards not in (0, shards_there):
            what = f"shard.created: the log was made with {found.shards} shards, and has {shards_there}."
            yield Breach(1, found.shard, 1, None, what)
