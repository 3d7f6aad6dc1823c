"""What the dispatcher answers, with types: why something does not run, what waits, and who runs what.

Each is true only at the moment when it is asked for.
"""

from __future__ import annotations

from datetime import datetime

from .records import Record


class Why(Record):
    """`code` is for programs, `text` for people; `next` is what they can do about it."""

    code: str
    text: str
    next: str | None = None


class Place(Record):
    """How many of its pool, and how many of its pipeline among them, are before it in the queue."""

    before: int
    before_of_pipeline: int
    priority: int
    waiting_ms: int


class Holder(Record):
    """Who has a place of a limit. Without a name: it has ended, but its runner has not said that the code is over."""

    id: str
    attempt: int
    name: str | None = None
    runner: str


class LimitUse(Record):
    """Some of the `used` are named in `holders`."""

    pipeline: str
    limit: int
    used: int
    holders: list[Holder]


class Offer(Record):
    """The runners that could take it, with their slots."""

    runners: int
    slots: int
    free: int


class Explanation(Record):
    """`since` is when the present phase began; `reasons` has at least one, the most telling first."""

    id: str
    name: str
    pipeline: str
    version: int
    pool: str
    status: str
    since: datetime
    attempt: int
    runner: str | None = None
    not_before: datetime | None = None
    expires_at: datetime | None = None
    timeout_at: datetime | None = None
    reasons: list[Why]
    place: Place | None = None
    limit: LimitUse | None = None
    runners: Offer | None = None


class QueueLine(Record):
    """All that wait for the same version in the same pool. `used` counts against `limit`; None: it has none."""

    pool: str
    pipeline: str
    version: int
    waiting: int
    oldest_ms: int
    limit: int | None = None
    used: int
    runners: Offer


class Queue(Record):
    """The longest lines first; what is not listed is counted in `left_off`."""

    waiting: int
    items: list[QueueLine]
    left_off: int = 0


class Held(Record):
    """What is in a runner's slot. Without a name: it has ended, and its code may still run."""

    id: str
    attempt: int
    name: str | None = None
    phase: str


class Runner(Record):
    """`taken` are the slots given to it, `held` those of them whose execution has ended while its code may run on.

    `offers` are its pipelines with the digests of their versions. One that is draining or silent gets nothing new.
    """

    process: str
    pool: str
    slots: int
    taken: int
    held: int
    state: str
    silent_ms: int
    offers: dict[str, str]
    tokens: list[Held]
    tokens_left_off: int = 0


class Runners(Record):
    items: list[Runner]
    left_off: int = 0
