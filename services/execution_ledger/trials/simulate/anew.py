"""All dispatchers are started anew at once, while much waits and runs: what they begin with is a snapshot.

Of what waits and what is due they must know all; where one thing is forgotten, an execution never ends, ends too late,
or gets a place that is taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from execution_ledger.messages.events import Event
from execution_ledger.messages.parts import Backoff, PolicyChoice
from execution_ledger.verify.findings import Breach

from .calm import Known, check_end, is_avoidable, settle, submission
from .plan import Ask

if TYPE_CHECKING:
    from .callers import Client
    from .cluster import Cluster

FIRST = 3_000  # the numbers of its asks
ANEW_S, END_S = 3.0, 30.0
_AGAIN = PolicyChoice(backoff=Backoff(first_ms=9_000, jitter=0))
_ENDS = (
    # The first two fill a pipeline of two: of the others one has too little time.
    *((submission(0, FIRST + more, "tight", "done", 12), "completed") for more in range(2)),
    (submission(0.3, FIRST + 2, "tight", "done", 0.2), "completed"),
    (submission(0.4, FIRST + 3, "tight", "done", 0.2, count=4), "completed"),
    (submission(0.5, FIRST + 4, "tight", "done", 0.2, policy=PolicyChoice(queue_ttl_ms=9_000)), "expired"),
    (submission(0.8, FIRST + 5, "tight", "done", 0.2), "completed"),  # the newest is held meanwhile
    (submission(0, FIRST + 6, "free", "fail", 0.1, retries=1, policy=_AGAIN), "user"),
    (submission(0, FIRST + 7, "free", "done", 10, business="anew"), "completed"),
    (submission(0.3, FIRST + 8, "free", "done", 0.1, business="anew", if_live="wait"), "completed"),
    (submission(0, FIRST + 9, "free", "hang", 0, policy=PolicyChoice(timeout_ms=9_000)), "timeout"),
    (submission(0, FIRST + 10, "free", "deaf", 14, policy=PolicyChoice(abort_grace_ms=9_000)), "forced"),
)
_CHANGES = (
    Ask(at_s=1, number=FIRST + 20, does="hold", of=FIRST + 5, seconds=2.9),
    Ask(at_s=1, number=FIRST + 21, does="abort", of=FIRST + 10),
    # So many events that a snapshot has all that is before them.
    *(Ask(at_s=1.2 + more / 10, number=FIRST + 30 + more, does="label", of=FIRST) for more in range(14)),
)


class Anew:
    """`began_s` is None where it was not played."""

    def __init__(self) -> None:
        self.began_s: float | None = None

    async def play(self, cluster: Cluster, client: Client) -> None:
        await settle(cluster)
        self.began_s = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as playing:
            playing.create_task(client.play([*(ask for ask, _ in _ENDS), *_CHANGES]))
            playing.create_task(_start_anew(cluster))
            playing.create_task(asyncio.sleep(END_S))

    def check(self, cluster: Cluster, client: Client, events: Sequence[tuple[float, Event]]) -> Iterator[Breach]:
        if (began_s := self.began_s) is None:
            return
        lately = [(at_s - began_s, event) for at_s, event in events if at_s >= began_s]
        for ask, end in _ENDS:
            yield from check_end(Known(ask, end, END_S - 4), client.subjects.get(ask.number), lately)
        for at_s, event in lately:
            if is_avoidable(event):
                what = (
                    f"A dispatcher asked for what it must have known to be impossible, {at_s:.3f} s after all was well."
                )
                yield Breach(9, event.shard, event.sequence, None, what)


async def _start_anew(cluster: Cluster) -> None:
    await asyncio.sleep(ANEW_S)
    for name in ("dispatcher-a", "dispatcher-b"):
        cluster.restart(name)
