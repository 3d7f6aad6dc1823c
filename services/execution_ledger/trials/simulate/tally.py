"""What really happened in a run, counted: faults that were felt, events, refusals, transitions and answers.

A fault that never strikes and a transition that never comes prove nothing, so `EXPECTED` names what a few hundred seeds
together must have met.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from execution_ledger.messages.commands import Decline
from execution_ledger.messages.events import (
    FACTS,
    Aborted,
    CommandRejected,
    Completed,
    Event,
    Failed,
    Quarantined,
    Queued,
    Requeued,
    StepChanged,
    Warned,
)
from execution_ledger.verify.log.history import Stored
from execution_ledger.verify.log.life import ABORTING, ENTERED, HELD, NEXT, QUARANTINED, QUEUED, RECORDED, UNKNOWN

from .callers import Client
from .cluster import Cluster
from .decoded import decoded
from .plan import KINDS, MOMENTS

Tally = Counter[str]

DECLINED = Decline.model_fields["type"].default


def tally(cluster: Cluster, client: Client, history: Mapping[int, Sequence[Stored]]) -> Tally:
    counted = Tally({f"fault: {kind}": times for kind, times in cluster.troubles.struck.items() if times})
    counted.update(f"answer: {heard.ask.does} {heard.outcome}" for heard in client.history)
    counted.update(f"ended by itself: {type(crash.error).__name__}" for crash in cluster.crashes)
    counted.update({"snapshot: written": len(cluster.objects.shown), "snapshot: read": cluster.objects.read})
    counted["snapshot: would be believed"] = cluster.objects.believed
    for events in history.values():
        counted.update(_of_events([decoded(raw) for raw, _ in events]))
    return +counted


def _of_events(events: Sequence[Event]) -> Iterator[str]:
    states: dict[str, str] = {}
    for event in events:
        fact = event.data
        yield f"event: {fact.TYPE}"
        if isinstance(fact, CommandRejected):
            yield f"refused: {fact.refusal.code}"
            yield from ["job: declined"] if fact.command == DECLINED else ()
        if isinstance(fact, Aborted):
            yield f"aborted: {fact.outcome}"
        if isinstance(fact, Requeued):
            yield f"requeued: {fact.cause}"
        if isinstance(fact, Queued) and fact.link:
            yield f"link: {fact.link.how}"
            yield from _of_many(fact)
        if isinstance(fact, Failed):
            yield f"failed: {fact.failure.kind}"
        if isinstance(fact, StepChanged):
            yield f"step: {'reused' if fact.reused else 'tried again' if _is_again(fact) else fact.status}"
        if event.version is not None:
            before = states.get(event.subject, UNKNOWN)
            after = states[event.subject] = NEXT.get((before, type(fact)), before)
            yield _life(before, fact.TYPE, after)


def _of_many(fact: Queued) -> Iterator[str]:
    source = fact.origin.source.partition("/")[0] if fact.origin else "one"
    if source == "batch":
        yield "batch: retried"
    if source == "job" and fact.reused:
        yield "job: rerun from the failed step"


def _is_again(fact: StepChanged) -> bool:
    return fact.status == "started" and fact.tries > 1


def _life(before: str, fact: str, after: str) -> str:
    return f"life: {before} + {fact.removeprefix('execution.').removesuffix('.v1')} → {after}"


# The first only where a runner's first report is lost for good, and its reports keep their order; the others in less
# than one of a hundred runs (as an abort whose runner was lost, which is not expected below either): `--tally` shows
# them. What is recorded after an abort's request is decided in one place: a warning stands for all of it.
SELDOM = (
    {(ABORTING, fact) for fact in (*RECORDED, Completed, Failed, Quarantined)}
    | {(ENTERED, fact) for fact in RECORDED if fact is not Warned}
    | {(ENTERED, Completed), (ENTERED, Failed), (QUARANTINED, Aborted)}
    | {(state, Quarantined) for state in (QUEUED, HELD, ENTERED)}
    | {(HELD, Failed), (HELD, Aborted)}
)
EXPECTED = (
    *(f"fault: {kind}" for kind in KINDS),
    *(f"fault: at the {moment}" for moment in MOMENTS if moment != "now"),
    *(f"event: {fact.TYPE}" for fact in FACTS),
    *(_life(before, fact.TYPE, after) for (before, fact), after in NEXT.items() if (before, fact) not in SELDOM),
    *(f"requeued: {cause}" for cause in ("lost", "timeout", "released", "failed", "infrastructure")),
    *(f"aborted: {how}" for how in ("never_started", "not_running", "acknowledged", "forced", "self")),
    *(f"failed: {kind}" for kind in ("user", "lost", "timeout", "released", "expired", "infrastructure", "internal")),
    *(f"step: {what}" for what in ("started", "tried again", "completed", "failed", "skipped", "reused")),
    *(f"refused: {code}" for code in ("stale_claim", "illegal_state", "abort_already_requested", "already_ended")),
    *(f"refused: {code}" for code in ("id_too_old", "id_from_future", "unknown_execution")),
    *("link: retry", "link: rerun", "batch: retried", "job: declined"),
    *("snapshot: read", "snapshot: would be believed", "ended by itself: UnknownVersion"),
)
