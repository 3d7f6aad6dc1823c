"""Asked: the commands on their way to a ledger, remembered by the offset at which they lie in its lane.

Every command leaves one trace. Asked again is only what may never have arrived: the send failed or got no answer, or
the ledger has read past the offset and there is no trace.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from execution_ledger.messages.commands import Dispatch, ExpireAttempt, ExpireQueued
from execution_ledger.messages.ids import shard_of

from .board import Token

AskedCommand = Dispatch | ExpireAttempt | ExpireQueued


@dataclass(slots=True, eq=False)
class Ask:
    """`token` is the attempt that it is about; for one that expires in the queue the attempt that will never be."""

    command: AskedCommand
    token: Token
    since_ms: int
    offset: int | None = None

    @property
    def shard(self) -> int:
        return shard_of(self.command.execution_id)


class Asked:
    """At most one ask per token: an attempt is first dispatched and only then expired."""

    def __init__(self) -> None:
        self._by_token: dict[Token, Ask] = {}
        self._by_id: dict[str, Ask] = {}
        self._in_lane: dict[int, deque[Ask]] = {}  # by shard, in the order of their offsets
        self._read: dict[int, int] = {}  # by shard: how far its ledger has read
        self._undecided: Counter[int] = Counter()

    def __contains__(self, token: Token) -> bool:
        return token in self._by_token

    def undecided(self, shard: int) -> int:
        """How many Dispatches of this shard have no trace yet."""
        return self._undecided[shard]

    def get(self, token: Token) -> Ask | None:
        return self._by_token.get(token)

    def oldest_ms(self, shard: int) -> int | None:
        """Since when the longest of this shard's asks has waited for its trace."""
        return min((ask.since_ms for ask in self._by_token.values() if ask.shard == shard), default=None)

    def add(self, command: AskedCommand, token: Token, since_ms: int) -> None:
        ask = Ask(command, token, since_ms)
        self.forget(ask.token)
        self._by_token[ask.token] = self._by_id[command.command_id] = ask
        self._undecided[ask.shard] += isinstance(command, Dispatch)

    def sent(self, command_id: str, offset: int) -> Ask | None:
        """Notes where it lies. The ask is given back where the ledger is past that already, without a trace."""
        if (ask := self._by_id.get(command_id)) is None:
            return None
        if offset <= self._read.get(ask.shard, -1):
            return ask
        ask.offset = offset
        self._in_lane.setdefault(ask.shard, deque()).append(ask)
        return None

    def find(self, command_id: str | None) -> Ask | None:
        return self._by_id.get(command_id) if command_id else None

    def find_at(self, shard: int, offset: int) -> Ask | None:
        return next((ask for ask in self._in_lane.get(shard, ()) if ask.offset == offset and self._is_open(ask)), None)

    def read_to(self, shard: int, offset: int) -> list[Ask]:
        """The ledger has read its lane up to this offset, included: what lies there untraced is given back."""
        self._read[shard] = offset
        lane = self._in_lane.get(shard)
        untraced = []
        while lane and lane[0].offset is not None and lane[0].offset <= offset:
            if self._is_open(ask := lane.popleft()):
                untraced.append(ask)
        return untraced

    def forget(self, token: Token) -> None:
        if (ask := self._by_token.pop(token, None)) is not None:
            del self._by_id[ask.command.command_id]
            self._undecided[ask.shard] -= isinstance(ask.command, Dispatch)

    def clear(self) -> list[Ask]:
        """Forgets all, and gives it back."""
        asks = list(self._by_token.values())
        for ask in asks:
            self.forget(ask.token)
        self._in_lane.clear()
        return asks

    def _is_open(self, ask: Ask) -> bool:
        return self._by_id.get(ask.command.command_id) is ask
