"""Where an execution stands in its life. Seen from outside, `dispatched` is still `queued`."""

from __future__ import annotations

from dataclasses import dataclass

from execution_ledger.messages.parts import Status


@dataclass(frozen=True, slots=True)
class Queued:
    not_before: int | None = None  # ms, like all times here
    expires_at: int | None = None
    held: bool = False
    word = "queued"


@dataclass(frozen=True, slots=True)
class Dispatched:
    runner: str
    timeout_at: int | None = None
    word = "dispatched"


@dataclass(frozen=True, slots=True)
class Started:
    runner: str
    timeout_at: int | None = None
    word = "started"


@dataclass(frozen=True, slots=True)
class AbortRequested:
    runner: str
    entered: bool  # the code had begun
    grace_until: int | None
    word = "abort_requested"


@dataclass(frozen=True, slots=True)
class Ended:
    status: Status

    @property
    def word(self) -> str:
        return self.status.value


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Deciding about it raised, and so did failing it: an operator's ForceAbort is the only way out."""

    word = "quarantined"


State = Queued | Dispatched | Started | AbortRequested | Ended | Quarantined
