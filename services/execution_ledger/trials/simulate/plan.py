"""A plan: who asks for what, and what goes wrong when. All of it is data drawn from a seed, so that it can be made
smaller, kept in a file, and played again.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field

from execution_ledger.messages.parts import Backoff, IfLive, JobAction, PolicyChoice

PROCESSES = tuple(
    f"{kind}-{which}" for kind in ("ledger", "dispatcher", "runner", "projector", "gateway") for which in "ab"
)
SHARDS = 3
SPAN_S = 45.0  # in which everything is asked and everything goes wrong
LEASE_S = 8.0  # so short that five of them fit in there

Manner = Literal[
    "done", "warn", "fail", "wrong", "quit", "exit", "deaf", "hang", "never", "broken", "stubborn", "record", "steady"
]
Entered = Literal["template", "twin", "experiment", "gone"]
Does = Literal[
    "submit",
    "batch",
    "repeat",
    "abort",
    "force",
    "retry",
    "rerun",
    "resume",
    "retry_failed",
    "junk",
    "hold",
    "release",
    "label",
    "job",
    "enter",
]
Planted = Literal["decide", "report", "evolve", "encode", "failing", "reports"]

_LANES = ("commands", "reports", "heartbeats", "inbox", "events")
_WRITES = {
    "ledger": ("events", "heartbeats"),
    "dispatcher": ("commands", "inbox", "heartbeats"),
    "runner": ("reports", "heartbeats"),
    "gateway": ("commands",),
}
_WRITTEN = (
    *(_LANES * 3),  # as often for all as for one process alone
    *(f"{process} {topic}" for process in PROCESSES for topic in _WRITES.get(process.split("-")[0], ())),
)
_UNOWNED = _LANES[:4]
_PARTITIONS = tuple(f"{topic}/{number}" for topic in ("commands", "reports", "events") for number in range(SHARDS))
MOMENTS = ("now", "request", "middle", "answer", "snapshot")
_HAVE = {"middle": ("ledger",), "snapshot": ("ledger", "dispatcher")}  # which processes have these moments
_READS = {
    "ledger": ("commands", "reports", "heartbeats"),
    "dispatcher": ("events", "heartbeats"),
    "runner": ("inbox",),
    "projector": ("events",),
    "gateway": ("events",),
}
_ONE_LANE = tuple(
    f"{process} {topic}/{number}"
    for process in PROCESSES
    for topic in _READS[process.split("-")[0]]
    for number in range({"heartbeats": 1, "inbox": 2}.get(topic, SHARDS))
)
_READERS_OF_EVENTS = tuple(process for process in PROCESSES if not process.startswith("runner"))
_FOLLOWERS = tuple(process for process in PROCESSES if process.startswith(("dispatcher", "projector", "gateway")))
_RUNNERS = ("runner-a", "runner-b")
_GATEWAYS = ("gateway-a", "gateway-b")
_OFTEN = {"kill": 3, "pause": 2, "drain": 2}  # how much more often than others


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Fault(Part):
    """`target` is a process, a topic, a lane, the log or the store; what `amount` means depends on the kind."""

    at_s: float
    kind: str
    target: str = ""
    for_s: float = 0.0
    amount: float = 0.0
    moment: str = "now"  # of a kill or a pause: at once, or in the middle of the next write, or of the next snapshot

    @property
    def until_s(self) -> float:
        return self.at_s + self.for_s


class Ask(Part):
    """What a client does. `of`: the number of the ask that is repeated, or whose execution it is about.

    What it enters into the catalog is `entry`, with a content that differs by `count`; `gone` removes the twin.
    """

    at_s: float
    number: int
    does: Does
    pipeline: str = "free"
    manner: Manner = "done"
    seconds: float = 0.0
    keyed: bool = True
    count: int = 1  # executions of a batch
    delivery: Literal["at_least_once", "at_most_once"] = "at_least_once"
    retries: int = 0
    policy: PolicyChoice | None = None  # what else it says; it goes before the two above
    twin: str | None = None
    experiment: str | None = None
    entry: Entered = "twin"
    of: int | None = None
    action: JobAction = "hold"  # of a job
    from_failed: bool = False  # of a job that reruns
    business: str | None = None  # its business id
    if_live: IfLive = "refuse"
    changed: bool = False  # a repeat with another body
    patience_s: float = 8.0


# What there is to run on from the beginning, unless it is hindered; later asks change it.
BEGINNING = (
    Ask(at_s=1.0, number=0, does="enter", entry="template"),
    Ask(at_s=3.0, number=1, does="enter", twin="pump-a", count=2),
    Ask(at_s=3.0, number=2, does="enter", twin="pump-b", count=3),
    Ask(at_s=3.0, number=3, does="enter", entry="experiment"),
)


class Plan(Part):
    """`snapshots`: whether there is a store for them; without one every start reads the whole log."""

    seed: int
    snapshots: bool = False
    faults: Annotated[list[Fault], Field(default_factory=list)]
    asks: Annotated[list[Ask], Field(default_factory=list)]

    @property
    def steps(self) -> int:
        return len(self.faults) + len(self.asks)


class Kind(NamedTuple):
    """Bounds of what may be drawn: how long (s), and how much."""

    targets: Sequence[str]
    for_s: tuple[float, float] = (0.0, 0.0)
    amount: tuple[float, float] = (0.0, 0.0)
    words: str = ""
    moments: Sequence[str] = ("now",)


# --- what can go wrong, and in what words the story tells it --------------------------------------------------------

KINDS: dict[str, Kind] = {
    "kill": Kind(PROCESSES, (0.2, 8), words="is killed, and started anew after {for_s:.1f} s", moments=MOMENTS),
    "drain": Kind(PROCESSES, (0.2, 15), words="is stopped, and started anew after {for_s:.1f} s"),
    "behind": Kind(_READERS_OF_EVENTS, (2, 15), words="runs code for {for_s:.1f} s that does not know a new event"),
    "release": Kind(_RUNNERS, (5, 15), (1, 4), "runs a release for {for_s:.1f} s whose limit is {amount:.0f}"),
    "pause": Kind(PROCESSES, (0.5, 20), words="stands still for {for_s:.1f} s", moments=MOMENTS),
    "cut": Kind(PROCESSES, (1, 20), words="is cut off from the log for {for_s:.1f} s"),
    "clock": Kind((*PROCESSES, "log"), (5, 40), (-20_000, 20_000), "has a clock that is wrong by {amount:+.0f} ms"),
    "clock_far": Kind(_GATEWAYS, (2, 20), (-240_000, 240_000), "has a clock that is wrong by {amount:+.0f} ms"),
    "slow": Kind(PROCESSES, (2, 15), (0.05, 2), "waits {amount:.1f} s for each trip to the log for {for_s:.1f} s"),
    "miss": Kind(_ONE_LANE, (3, 40), words="is not read for {for_s:.1f} s"),
    "skips": Kind(_FOLLOWERS, (2, 10), (0.1, 0.8), "passes over events in {amount:.0%} of its reads for {for_s:.1f} s"),
    "stall": Kind(PROCESSES, (1, 20), words="reads nothing for {for_s:.1f} s"),
    "away": Kind(("log",), (1, 20), words="is away for {for_s:.1f} s"),
    "leader": Kind(_PARTITIONS, (0.5, 6), words="has no leader for {for_s:.1f} s"),
    "lose_request": Kind(_WRITTEN, (2, 15), (0.05, 0.5), "loses {amount:.0%} of the writes for {for_s:.1f} s"),
    "late_request": Kind(_WRITTEN, (2, 15), (0.05, 0.4), "takes {amount:.0%} of the writes late for {for_s:.1f} s"),
    "lose_answer": Kind(_WRITTEN, (2, 15), (0.05, 0.5), "loses {amount:.0%} of the answers for {for_s:.1f} s"),
    "double": Kind(_UNOWNED, (2, 20), (0.1, 0.6), "takes {amount:.0%} of the writes twice for {for_s:.1f} s"),
    "part_fails": Kind(("events",), (2, 15), (0.05, 0.4), "refuses {amount:.0%} of the batches for {for_s:.1f} s"),
    "prepared": Kind(("events",), (2, 15), (0.05, 0.4), "commits {amount:.0%} without an answer for {for_s:.1f} s"),
    "late_markers": Kind(("events",), (2, 20), (0.1, 4), "writes markers {amount:.1f} s late for {for_s:.1f} s"),
    "forget_ids": Kind(("log",), words="forgets its transactional ids: epochs begin at 0 again"),
    "retention": Kind(_UNOWNED, words="loses what is old and decided"),
    "store_away": Kind(("store",), (1, 15), words="is away for {for_s:.1f} s"),
    "store_slow": Kind(("store",), (2, 15), (0.05, 3), "takes {amount:.1f} s for each answer for {for_s:.1f} s"),
    "store_cut": Kind(("store",), (2, 15), (0.05, 0.6), "loses {amount:.0%} of the answers for {for_s:.1f} s"),
    "store_back": Kind(("store",), (0.5, 15), words="fails over after {for_s:.1f} s, to what it is now"),
    "objects_away": Kind(("objects",), (2, 30), words="are away for {for_s:.1f} s"),
    "objects_slow": Kind(("objects",), (5, 30), (0.5, 8), "take {amount:.1f} s for each answer for {for_s:.1f} s"),
    "objects_cut": Kind(("objects",), (5, 30), (0.2, 0.8), "lose {amount:.0%} of the writes for {for_s:.1f} s"),
    "objects_torn": Kind(("objects",), (5, 30), (0.3, 0.9), "break off {amount:.0%} of the reads for {for_s:.1f} s"),
    "objects_damaged": Kind(("objects",), words="have one with a wrong digit"),
    "objects_back": Kind(("objects",), (2, 25), words="come back after {for_s:.1f} s as they are now"),
    "objects_forgotten": Kind(("objects",), words="are all lost"),
}


def words_of(fault: Fault) -> str:
    when = "" if fault.moment == "now" else f" (at the {fault.moment} of a write)"
    return f"{fault.target} {KINDS[fault.kind].words.format_map(fault.model_dump())}{when}"


# --- drawing -------------------------------------------------------------------------------------------------------


def draw(seed: int, steps: int) -> Plan:
    """Each plan leaves some kinds of fault out, so that the others meet in every combination."""
    chance = random.Random(f"plan {seed}")  # noqa: S311 - a seeded choice is the point
    kinds = chance.sample(sorted(KINDS), chance.randint(1, len(KINDS)))
    faults, asks = list[Fault](), list(BEGINNING[:steps])
    for _ in range(steps - len(asks)):
        if chance.random() < 0.4:
            faults.append(_fault(chance, chance.choices(kinds, [_OFTEN.get(kind, 1) for kind in kinds])[0]))
        else:
            asks.append(_ask(chance, asks))
    return Plan(seed=seed, snapshots=chance.random() < 0.8, faults=sorted(faults, key=_at), asks=sorted(asks, key=_at))


def _fault(chance: random.Random, name: str) -> Fault:
    kind = KINDS[name]
    target = chance.choice(kind.targets)
    return Fault(
        at_s=round(chance.uniform(0, SPAN_S), 3),
        kind=name,
        target=target,
        for_s=round(chance.uniform(*kind.for_s), 3),
        amount=round(chance.uniform(*kind.amount), 3),
        moment=chance.choice([moment for moment in kind.moments if target.startswith(_HAVE.get(moment, (target,)))]),
    )


# How often each is asked, beside the others; and what comes soon after what it is about.
_ASKS: dict[Does, float] = {
    "submit": 12,
    "batch": 2,
    "repeat": 3,
    "abort": 9,
    "force": 3,
    "retry": 2,
    "rerun": 1,
    "resume": 2,
    "retry_failed": 1,
    "junk": 0.5,
    "hold": 4,
    "release": 2,
    "label": 1,
    "job": 2,
    "enter": 2,
}
_SOON = frozenset({"repeat", "abort", "force", "hold", "release", "label"})


def _ask(chance: random.Random, before: Sequence[Ask]) -> Ask:
    """What is about an earlier ask comes at any time or, more often, soon after that one."""
    number, at_s = len(before), chance.uniform(0, SPAN_S)
    of = chance.randrange(number) if number else None
    does = chance.choices(list(_ASKS), list(_ASKS.values()))[0]
    if of is None:
        does = "submit"
    elif does in ("retry", "rerun"):  # most have ended by then
        at_s = min(SPAN_S, before[of].at_s + chance.uniform(1, 20))
    elif does in _SOON and chance.random() < 0.7:
        at_s = min(SPAN_S, before[of].at_s + chance.choice([0.2, 2, 8]) * chance.random())
    planted = [f"planted-{name}" for name in (*get_args(Planted), "reports", "reports")]  # which can end in many ways
    return Ask(
        at_s=round(at_s, 3),
        number=number,
        does=does,
        pipeline=chance.choices(["free", "tight", "plain", "stepped", chance.choice(planted)], [6, 6, 2, 3, 2])[0],
        manner=chance.choices(get_args(Manner), [8, 2, 2, 1, 1, 1, 2, 2, 1, 1, 2, 3, 2])[0],
        seconds=round(chance.uniform(0, 6), 3),
        keyed=chance.random() < 0.8,
        count=chance.randint(2, 6),
        delivery=chance.choice(["at_least_once", "at_least_once", "at_most_once"]),
        retries=chance.choice([0, 0, 2]),
        policy=_policy(chance) if chance.random() < 0.5 else None,
        of=of,
        action=chance.choice((*get_args(JobAction), "rerun")),  # which is done in two ways
        from_failed=chance.random() < 0.5,
        business="north" if chance.random() < 0.25 else None,
        if_live=chance.choice(get_args(IfLive)),
        twin=chance.choice(["pump-a", "pump-b", None if does in ("submit", "batch") else "pump-a"]),
        experiment="season" if chance.random() < 0.2 else None,
        entry=chance.choices(get_args(Entered), [2, 4, 1, 1])[0],
        changed=chance.random() < 0.2,
        patience_s=round(chance.uniform(1, 12), 3),
    )


def _policy(chance: random.Random) -> PolicyChoice:
    first_ms = chance.choice([0, 200, 3_000])
    backoff = Backoff(first_ms=first_ms, factor=chance.choice([1, 2, 5]), max_ms=8_000, jitter=chance.choice([0, 0.5]))
    return PolicyChoice(
        losses_max=chance.choice([None, 0, 1]),
        timeout_ms=chance.choice([None, 1_000, 3_000]),
        queue_ttl_ms=chance.choice([None, 1_500, 6_000]),
        timeout_retries=chance.choice([None, 1]),
        infrastructure_retries=chance.choice([None, 0, 1]),
        abort_grace_ms=chance.choice([None, 500]),
        backoff=chance.choice([None, backoff]),
    )


def _at(part: Fault | Ask) -> float:
    return part.at_s
