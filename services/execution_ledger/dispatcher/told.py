"""Told: the inbox messages that each runner was sent, by offset, so that none is sent again before it can be lost.

A heartbeat names the offset up to which its runner has read. A message beyond that is still on its way; only one that
was never sent, or was read and had no effect, is sent again.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Literal, NamedTuple

from .board import Token

# claim: nothing but the sender's claim. Once it is read, whatever an earlier dispatcher sent is dropped.
Kind = Literal["start", "confirmed", "abort", "closed", "claim"]
NO_TOKEN = Token("", 0)  # what a message of the kind `claim` is about


class Telling(NamedTuple):
    """What one inbox message says, and to whom."""

    runner: str
    kind: Kind
    tokens: Sequence[Token]


class Told:
    def __init__(self) -> None:
        self._offsets: dict[str, dict[tuple[Kind, Token], int | None]] = {}  # None: the send has no answer yet

    def telling(self, telling: Telling) -> None:
        known = self._offsets.setdefault(telling.runner, {})
        known.update(((telling.kind, token), None) for token in telling.tokens)

    def sent(self, telling: Telling, offset: int) -> None:
        known = self._offsets.get(telling.runner, {})
        known.update(((telling.kind, token), offset) for token in telling.tokens if (telling.kind, token) in known)

    def unsent(self, telling: Telling) -> None:
        """The send failed or got no answer: as good as never sent, for a repeat does no harm.

        A start that may lie somewhere in the inbox needs a new claim message behind it, see `knew_of`.
        """
        known = self._offsets.get(telling.runner, {})
        for token in telling.tokens:
            known.pop((telling.kind, token), None)
        if telling.kind == "start":
            known.pop(("claim", NO_TOKEN), None)

    def was_sent(self, runner: str, kind: Kind, token: Token) -> bool:
        """Sent by this dispatcher under its present claim, or just being sent."""
        return (kind, token) in self._offsets.get(runner, {})

    def was_read(self, runner: str, kind: Kind, token: Token, inbox_offset: int) -> bool:
        """Whether a runner that reads `inbox_offset` next has read this message."""
        offset = self._offsets.get(runner, {}).get((kind, token))
        return offset is not None and offset < inbox_offset

    def knew_of(self, runner: str, token: Token, inbox_offset: int) -> bool:
        """Whether a runner that reads `inbox_offset` next has met this token, so that not listing it means it is over.

        It has read the start; or, where no start is known, a claim message: whatever start lies before that was read,
        and one that an earlier dispatcher may still send is dropped.
        """
        if self.was_sent(runner, "start", token):
            return self.was_read(runner, "start", token, inbox_offset)
        return self.was_read(runner, "claim", NO_TOKEN, inbox_offset)

    def may_tell(self, runner: str, kind: Kind, token: Token, inbox_offset: int) -> bool:
        return not self.was_sent(runner, kind, token) or self.was_read(runner, kind, token, inbox_offset)

    def keep(self, runner: str, tokens: Container[Token]) -> None:
        """Forgets what was said about any other token."""
        if known := self._offsets.get(runner):
            self._offsets[runner] = {
                key: offset for key, offset in known.items() if key[1] in tokens or key[1] is NO_TOKEN
            }

    def forget(self, runner: str) -> None:
        self._offsets.pop(runner, None)

    def clear(self) -> None:
        self._offsets.clear()
