"""Explanations: what the dispatcher answers to whoever asks why something does not run, and what waits where.

They lie on no topic: each is true only at the moment when it is asked for.
"""

from __future__ import annotations

from typing import Literal

from .base import Message, Time
from .heartbeats import TokenPhase
from .ids import ExecutionId, PipelineName
from .parts import Status

HOLDERS_MAX = 20  # named in one answer
TOKENS_MAX = 50  # named of one runner
ITEMS_MAX = 500  # lines of one answer

ReasonCode = Literal[
    "no_runner",
    "not_offered",
    "runners_away",
    "slots_taken",
    "runs_alone",
    "limit_taken",
    "ledger_away",
    "not_before",
    "held",
    "behind",
    "expiring",
    "refused",
    "asked",
    "turn",
    "dispatched",
    "runner_silent",
    "running",
    "aborting",
    "not_seen",
    "quarantined",
    "ended",
]


class Why(Message):
    """`code` is for programs, `text` for people; `next` is what they can do about it."""

    code: ReasonCode
    text: str
    next: str | None = None


class Place(Message):
    """How many of its pool, and how many of its pipeline among them, are before it in the queue."""

    before: int
    before_of_pipeline: int
    priority: int
    waiting_ms: int


class Holder(Message):
    """Who has a place of a limit. Without a name: it has ended, but its runner has not said that the code is over."""

    id: ExecutionId
    attempt: int
    name: str | None = None
    runner: str


class LimitUse(Message):
    """`holders` are at most HOLDERS_MAX of the `used`."""

    pipeline: PipelineName
    limit: int
    used: int
    holders: list[Holder]


class Offer(Message):
    """The runners that offer its version and take new work, with their slots."""

    runners: int
    slots: int
    free: int


class Explanation(Message):
    """`since` is when its status became what it is; `reasons` has at least one, the most telling first."""

    id: ExecutionId
    name: str
    pipeline: PipelineName
    version: int
    pool: str
    status: Status
    since: Time
    attempt: int
    runner: str | None = None
    not_before: Time | None = None  # while it waits for its next attempt
    expires_at: Time | None = None  # while it waits for a runner
    timeout_at: Time | None = None  # while it has one
    reasons: list[Why]
    place: Place | None = None
    limit: LimitUse | None = None
    runners: Offer | None = None


class QueueLine(Message):
    """All that wait for the same version in the same pool. `used` counts against `limit`; None: it has none."""

    pool: str
    pipeline: PipelineName
    version: int
    waiting: int
    oldest_ms: int
    limit: int | None = None
    used: int
    runners: Offer


class QueueReport(Message):
    """The longest lines first; what is beyond ITEMS_MAX is only counted."""

    waiting: int
    items: list[QueueLine]
    left_off: int = 0


class TokenLine(Message):
    """What a runner has by the ledger's word; or, without a name, what it lists although the execution has ended."""

    id: ExecutionId
    attempt: int
    name: str | None = None
    phase: Literal["dispatched", "started"] | TokenPhase


class RunnerLine(Message):
    """`taken` are the slots given to it, `held` those of them whose execution has ended while its code may run on.

    A runner that is draining or silent gets nothing new.
    """

    process: str
    pool: str
    slots: int
    taken: int
    held: int
    state: Literal["ready", "draining", "silent"]
    silent_ms: int
    offers: dict[PipelineName, str]
    tokens: list[TokenLine]
    tokens_left_off: int = 0


class RunnersReport(Message):
    items: list[RunnerLine]
    left_off: int = 0
