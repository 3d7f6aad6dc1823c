"""Defences of the runner, taken out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from execution_ledger.messages.inbox import AnyInboxMessage, Start, Token
from execution_ledger.runner.attempts import Action, Attempts
from execution_ledger.runner.checkpoints import Checkpoints
from execution_ledger.runner.heart import Heart
from execution_ledger.runner.service import RunnerService
from removal.instead import instead


@contextmanager
def lower_claim_dropped() -> Iterator[None]:
    real = Attempts.receive

    def receive(self: Attempts, message: AnyInboxMessage, now_ms: int) -> list[Action]:
        self._claim = min(self._claim, message.claim)
        return real(self, message, now_ms)

    with instead(Attempts, "receive", receive):
        yield


@contextmanager
def confirmed_under_at_most_once() -> Iterator[None]:
    """Its code begins with the start."""
    real = Attempts._start

    def begin(self: Attempts, start: Start, now_ms: int) -> list[Action]:
        return real(self, start.model_copy(update={"delivery": None}), now_ms)

    with instead(Attempts, "_start", begin):
        yield


@contextmanager
def self_fencing() -> Iterator[None]:
    def go_on(self: Heart) -> None:
        if self._left_s() <= 0:
            self._alive.clear()

    with instead(Heart, "fence_if_due", go_on):
        yield


@contextmanager
def starts_before_revival_void() -> Iterator[None]:
    def refuses_start(self: RunnerService, start: Start) -> bool:
        return self._outbox.full

    with instead(RunnerService, "_refuses_start", refuses_start):
        yield


@contextmanager
def closed_remembered() -> Iterator[None]:
    def remember_nothing(self: Attempts, tokens: Sequence[Token]) -> None:
        pass

    with instead(Attempts, "_remember_closed", remember_nothing):
        yield


@contextmanager
def repeated_start_resends() -> Iterator[None]:
    """A start of what it holds begins the code again."""
    real = Attempts._start

    def begin(self: Attempts, start: Start, now_ms: int) -> list[Action]:
        if start.token not in self._running:
            self._forget(start.token)
        return real(self, start, now_ms)

    with instead(Attempts, "_start", begin):
        yield


@contextmanager
def newest_checkpoint_first() -> Iterator[None]:
    """An attempt ends without what it said in its last second."""
    real = Checkpoints.end

    def end(self: Checkpoints, token: Token, *, is_last: bool) -> None:
        real(self, token, is_last=True)

    with instead(Checkpoints, "end", end):
        yield
