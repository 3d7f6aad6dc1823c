"""Once all is at rest: a few executions of which everything is known beforehand, in what order and how soon.

While things go wrong nearly anything may come late, so nothing can be said of when, nor of what goes first. Here a
dispatcher has no excuse. It is asked in some of the runs only, for it takes as long as all else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from execution_ledger.log.protocol import Lane, Outgoing, Topic
from execution_ledger.messages.events import (
    Aborted,
    CommandRejected,
    Completed,
    Dispatched,
    Event,
    Failed,
    Requeued,
)
from execution_ledger.messages.heartbeats import HEARTBEATS, RunnerBeat
from execution_ledger.messages.parts import PolicyChoice
from execution_ledger.verify.findings import Breach

from .liveness import check_overdue
from .pipelines import LIMIT, TIGHT, pipelines
from .plan import SHARDS, Ask, Fault
from .prompt import check_prompt

if TYPE_CHECKING:
    from .callers import Client
    from .cluster import Cluster

EVERY = 4  # seeds
SETTLE_S = 12.0  # until code that nobody waits for has ended, and a ledger that was fenced has noticed that it was
LATE_S = 3.0  # a tick or two, and what is asked for in a turn
FIRST = 1_000  # the numbers of its asks: behind all others
DEAF, SHORT = FIRST, FIRST + 1  # which fill a pipeline of two
IN_ORDER = (FIRST + 11, FIRST + 12, FIRST + 13, FIRST + 10)  # by their priorities, then by age


class Known(NamedTuple):
    """`end`: its outcome, the kind of its failure, or `completed`, or one `or` the other; `by_s`: when that has come,
    from the beginning.
    """

    ask: Ask
    end: str
    by_s: float


def submission(at_s: float, number: int, pipeline: str, manner: str, seconds: float, **more: object) -> Ask:
    return Ask.model_validate(
        {"at_s": at_s, "number": number, "does": "submit", "pipeline": pipeline, "manner": manner, "seconds": seconds}
        | more
    )


_PATIENT = PolicyChoice(queue_ttl_ms=2_500)
_GRACE = PolicyChoice(abort_grace_ms=10_000)
_TIGHT = (
    # The code of the first goes on for longer, so the other's place is all there is for those that wait.
    Known(submission(0, DEAF, "tight", "deaf", 3, policy=PolicyChoice(abort_grace_ms=500)), "forced", 1.5 + LATE_S),
    Known(submission(0, SHORT, "tight", "done", 2.5), "completed", 2.5 + LATE_S),
    Known(submission(0.6, FIRST + 10, "tight", "done", 0.3, count=2), "completed", 8),
    Known(submission(0.7, FIRST + 11, "tight", "done", 0.3, count=6), "completed", 8),
    Known(submission(0.8, FIRST + 12, "tight", "done", 0.3, count=4), "completed", 8),
    Known(submission(0.9, FIRST + 13, "tight", "done", 0.3, count=4), "completed", 8),
    Known(
        submission(0.9, FIRST + 14, "tight", "done", 0, count=-9, policy=PolicyChoice(queue_ttl_ms=1_000)), "expired", 5
    ),
    # Held until then: its time in the queue stands still.
    Known(submission(1.1, FIRST + 15, "tight", "done", 0.3, count=9, policy=_PATIENT), "completed", 5 + LATE_S),
    # Its code has ended now: there are two places again.
    *(Known(submission(10, FIRST + 16 + more, "tight", "done", 2.5), "completed", 14) for more in range(2)),
)
_FREE = (
    # Its time in the queue begins anew with its retry, so it does not expire.
    Known(submission(0, FIRST + 20, "free", "fail", 2.8, retries=1, policy=_PATIENT), "user", 6.6 + LATE_S),
    Known(submission(0, FIRST + 21, "free", "hang", 0, policy=PolicyChoice(timeout_ms=1_000)), "timeout", 1 + LATE_S),
    Known(submission(0, FIRST + 22, "free", "hang", 0), "acknowledged", 1.5),  # its runner is told at once
    Known(submission(0, FIRST + 23, "free", "done", 1.5, business="calm"), "completed", 1.5 + LATE_S),
    Known(
        submission(0.4, FIRST + 24, "free", "done", 0.1, business="calm", if_live="wait", delivery="at_most_once"),
        "completed",
        2 + LATE_S,
    ),
    Known(submission(5, FIRST + 26, "free", "deaf", 0.6), "completed", 6.3 + LATE_S),  # its abort comes too late
    Known(submission(5, FIRST + 25, "free", "never", 0.1, retries=2), "user", 6.5),  # for it says that no try can help
)
_RUNNERS = (
    # While one leaves, with code that lets it wait, and later while one says nothing, the other one is there.
    *(Known(submission(13, FIRST + 30 + more, "free", "deaf", 0.8), "completed", 15 + LATE_S) for more in range(2)),
    # Of two others the one that was there is given back, and is tried again.
    *(
        Known(submission(13.1, FIRST + 38 + more, "free", "stubborn", 2.5), "completed", 18 + LATE_S)
        for more in range(2)
    ),
    *(Known(submission(13.8, FIRST + 32 + more, "free", "done", 0.1), "completed", 14 + LATE_S) for more in range(2)),
    *(Known(submission(22.8, FIRST + 34 + more, "free", "done", 0.1), "completed", 23.4) for more in range(3)),
    # The silent one hears of its abort and of its start at once, and begins before it stops.
    *(
        Known(submission(19.0, FIRST + 46 + more, "free", "hang", 0, policy=_GRACE), "acknowledged", 23.5 + LATE_S)
        for more in range(2)
    ),
    # Of the last one its runner hears nothing until it is to be aborted, unless both waited in the same outbox.
    Known(submission(36.2, FIRST + 44, "free", "hang", 0, policy=_GRACE), "never_started or acknowledged", 45),
    # One of them has its runner killed.
    *(Known(submission(33.5, FIRST + 42 + more, "free", "done", 1.5), "completed", 48) for more in range(2)),
    # The word of its abort is lost: when the dispatcher has waited for an answer in vain, it says it again.
    Known(submission(25, FIRST + 40, "free", "hang", 0, policy=_GRACE), "acknowledged", 33),
)
_SUCCESSION = (
    # What the first dispatcher has asked for of the last of these comes late: the second one goes by priority.
    Known(submission(45.0, FIRST + 50, "tight", "done", 6), "completed", 51 + LATE_S),
    Known(submission(46.0, FIRST + 51, "tight", "done", 5, count=9), "completed", 51 + LATE_S),
    Known(submission(45.8, FIRST + 52, "tight", "done", 0.2), "completed", 52 + LATE_S),
    # Its start comes late, when it is over and the second one has given its place away.
    Known(submission(45.3, FIRST + 53, "free", "done", 0.5), "forced", 45.6 + LATE_S),
)
KNOWN = _TIGHT + _FREE + _RUNNERS + _SUCCESSION
_CHANGES = (
    Ask(at_s=1, number=FIRST + 90, does="abort", of=DEAF),
    Ask(at_s=1, number=FIRST + 91, does="abort", of=FIRST + 22),
    Ask(at_s=1.4, number=FIRST + 92, does="hold", of=FIRST + 15, seconds=2.9),
    Ask(at_s=5.4, number=FIRST + 94, does="abort", of=FIRST + 26),
    Ask(at_s=26, number=FIRST + 93, does="abort", of=FIRST + 40),
    *(Ask(at_s=19.6, number=FIRST + 95 + more, does="abort", of=FIRST + 46 + more) for more in range(2)),
    Ask(at_s=45.6, number=FIRST + 98, does="force", of=FIRST + 53),
    Ask(at_s=36.7, number=FIRST + 97, does="abort", of=FIRST + 44),
)
_LEAVES_S, _SILENT_S, _SILENT_FOR_S, _DIES_S = 13.3, 18.9, 4.6, 34.0
_LATE = (("inbox", 45.2), ("commands", 45.7))  # what the first dispatcher writes, from when on it is late
_SUCCEEDS_S, _END_S = 46.1, 56.5
_LOST = tuple(
    Fault(at_s=at_s, kind="lose_request", target="inbox", for_s=for_s, amount=1.0)
    for at_s, for_s in ((25.9, 0.3), (36.1, 2.5))
)
_CLOSED_S = 4.0  # in which runners have forgotten all that is over


def may_be_calm(cluster: Cluster) -> bool:
    """Where the newest version is another release's, limits are others; where clocks went back, so may deadlines."""
    newest = max(version for name, version in cluster.store.pipelines if name == TIGHT)
    is_usual = cluster.store.pipelines[TIGHT, newest]["digest"] == pipelines(LIMIT)[TIGHT].digest
    return is_usual and not cluster.clock_jumped


class Calm:
    """`began_s` is None where it was not played."""

    def __init__(self) -> None:
        self.began_s: float | None = None
        self.left: list[str] = []  # what runners still listed when all was over

    async def play(self, cluster: Cluster, client: Client) -> None:
        await settle(cluster)
        self.began_s = asyncio.get_running_loop().time()
        asks = [known.ask for known in KNOWN]
        async with asyncio.TaskGroup() as playing:
            playing.create_task(client.play([*asks, *_CHANGES]))
            for fault in _LOST:
                playing.create_task(_lose(cluster, fault))
            playing.create_task(_leave(cluster))
            playing.create_task(_fall_silent(cluster))
            playing.create_task(_die(cluster))
            playing.create_task(_succeed(cluster))
            playing.create_task(asyncio.sleep(_END_S))
        await asyncio.sleep(_CLOSED_S)
        self.left = [*_listed(cluster)]

    def check(self, cluster: Cluster, client: Client, events: Sequence[tuple[float, Event]]) -> Iterator[Breach]:
        if (began_s := self.began_s) is None:
            return
        lately = [(at_s - began_s, event) for at_s, event in events if at_s >= began_s]
        for known in KNOWN:
            yield from check_end(known, client.subjects.get(known.ask.number), lately)
        yield from _check_order(client, lately)
        for at_s, event in lately:
            if is_avoidable(event):
                what = f"A dispatcher asked for what it must have known to be impossible, {at_s:.3f} s into the calm."
                yield Breach(9, event.shard, event.sequence, None, what)
        yield from _check_released(lately)
        before_late = [each for each in lately if each[0] < _LATE[0][1]]
        yield from check_prompt(cluster, began_s, before_late, _LOST[0].at_s - 1)
        yield from check_overdue(began_s, events, LATE_S)
        for what in self.left:
            yield Breach(9, 0, None, None, f"{what}, which ended long before.")


async def settle(cluster: Cluster) -> None:
    """A ledger that was fenced notices it when it writes, so each gets something to write."""
    for shard in range(SHARDS):
        await cluster.log.send(Lane(Topic.COMMANDS, shard), [Outgoing(b"by hand", b"wake up")])
    await asyncio.sleep(SETTLE_S)


def _listed(cluster: Cluster) -> Iterator[str]:
    """What is still in a runner's newest heartbeat."""
    records = cluster.log.partition(Lane(Topic.HEARTBEATS, 0)).records
    since_ms = cluster.clock.now_ms() - _CLOSED_S * 1_000
    newest = {record.key: record for record in records if record.time_ms >= since_ms}
    for beat in (HEARTBEATS.validate_json(record.value or b"") for record in newest.values()):
        if isinstance(beat, RunnerBeat):
            yield from (f"{beat.process} still lists {held.execution_id}" for held in beat.tokens)


async def _lose(cluster: Cluster, fault: Fault) -> None:
    await asyncio.sleep(fault.at_s)
    cluster.troubles.begin(fault)
    await asyncio.sleep(fault.for_s)
    cluster.troubles.end(fault)


async def _leave(cluster: Cluster) -> None:
    await asyncio.sleep(_LEAVES_S)
    await cluster.drain("runner-b", 5.0)
    cluster.start("runner-b")


async def _die(cluster: Cluster) -> None:
    await asyncio.sleep(_DIES_S)
    cluster.restart("runner-b")


async def _succeed(cluster: Cluster) -> None:
    began_s, faults = asyncio.get_running_loop().time(), list[Fault]()
    first = next((name for name in ("dispatcher-a", "dispatcher-b") if cluster.dispatches(name)), "dispatcher-a")
    for topic, at_s in _LATE:
        await asyncio.sleep(began_s + at_s - asyncio.get_running_loop().time())
        faults.append(Fault(at_s=at_s, kind="late_request", target=f"{first} {topic}", amount=1.0))
        cluster.troubles.begin(faults[-1])
    await asyncio.sleep(began_s + _SUCCEEDS_S - asyncio.get_running_loop().time())
    await cluster.drain(first, 5.0)
    for fault in faults:
        cluster.troubles.end(fault)
    cluster.start(first)


async def _fall_silent(cluster: Cluster) -> None:
    await asyncio.sleep(_SILENT_S)
    if life := cluster.life("runner-b"):
        cluster.pause("runner-b")
        await asyncio.sleep(_SILENT_FOR_S)
        cluster.go_on(life)


def check_end(known: Known, execution: str | None, events: Sequence[tuple[float, Event]]) -> Iterator[Breach]:
    asked = f"{known.ask.pipeline} ({known.ask.manner}) of ask {known.ask.number}"
    ends = [(at_s, event) for at_s, event in events if event.subject == execution and _end_of(event)]
    if not ends:
        yield Breach(9, 0, None, execution, f"{asked} was never there, or has not ended.")
    for at_s, event in ends:
        if _end_of(event) not in known.end.split(" or ") or at_s > known.by_s:
            what = (
                f"{asked} ended as {_end_of(event)} after {at_s:.3f} s, and not as {known.end} by {known.by_s:.1f} s."
            )
            yield Breach(9, event.shard, event.sequence, event.subject, what)


def _end_of(event: Event) -> str | None:
    match event.data:
        case Completed():
            return "completed"
        case Failed(failure=failure):
            return failure.kind
        case Aborted(outcome=outcome):
            return str(outcome)
    return None


def is_avoidable(event: Event) -> bool:
    """What a dispatcher was refused. That it was no longer the newest one it could not know."""
    is_refused = isinstance(event.data, CommandRejected) and event.data.refusal.code != "stale_claim"
    return is_refused and (event.actor or "").startswith("dispatcher-")


def _check_released(events: Sequence[tuple[float, Event]]) -> Iterator[Breach]:
    """Only what its runner had before it left is given back."""
    sent_s: dict[str, float] = {}
    for at_s, event in events:
        if isinstance(event.data, Dispatched):
            sent_s[event.subject] = at_s
        elif isinstance(event.data, Requeued) and event.data.cause == "released" and sent_s[event.subject] > _LEAVES_S:
            what = f"It was sent to a runner that was about to leave, {sent_s[event.subject]:.3f} s into the calm."
            yield Breach(9, event.shard, event.sequence, event.subject, what)


def _check_order(client: Client, events: Sequence[tuple[float, Event]]) -> Iterator[Breach]:
    wanted = [client.subjects.get(number) for number in IN_ORDER]
    begun = sorted((at_s, event.subject) for at_s, event in events if isinstance(event.data, Dispatched))
    found = [subject for _, subject in begun if subject in wanted]
    if found != wanted:
        yield Breach(6, 0, None, found[0] if found else None, f"{found} were dispatched in this order, not {wanted}.")
