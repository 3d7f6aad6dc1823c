"""First answers: what a key was told, for a repeat of it that could not be sent as a new request any more.

A pipeline may have changed since the first request. Its repeat gets the first answer all the same, so whoever finds
something wrong with a request that bears a key looks here before saying so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from execution_ledger.messages.base import Message
from execution_ledger.messages.events import decode_event
from execution_ledger.messages.position import Position

from ..edge.problems import Refused, away
from ..writes.requests import digest_of_body
from ..writes.sending import Answer
from .tail import Tail
from .traces import Trace, trace_of

# The first event of a command, from views that include a position; raises Away where they cannot tell.
LookUp = Callable[[str, Position], Awaitable[bytes | None]]


async def without_views(command_id: str, at_least: Position) -> bytes | None:
    raise away("views-away", f"Whether command {command_id} was answered before cannot be told now. Try again soon.")


class FirstAnswers:
    def __init__(self, tail: Tail, wait_s: float, look_up: LookUp) -> None:
        self._tail = tail
        self._wait_s = wait_s
        self._look_up = look_up

    async def instead_of(self, refusal: Refused, command_id: str, shard: int, requests: Sequence[Message]) -> Answer:
        """What the key's first request was told; "received" while that is undecided.

        Raises the refusal where the key is new, and Away where nobody can tell.
        """
        try:
            digest = digest_of_body(*requests)
        except ValueError:  # nested too deeply even for that, so it was never accepted
            raise refusal from None
        undecided = self._tail.traces.find(command_id)
        if undecided is not None and undecided.trace is None:
            return Answer(command_id, undecided.subject, None)
        first = await self._find(command_id, shard)
        if first is None:
            raise refusal
        return Answer(command_id, first.outcome.subject, first.repeated_by(digest))

    async def _find(self, command_id: str, shard: int) -> Trace | None:
        await self._tail.read_to_end(shard, self._wait_s)
        if known := self._tail.traces.first(command_id):
            return known
        raw = await self._look_up(command_id, {shard: self._tail.position.get(shard, 0)})
        found = None if raw is None else trace_of(decode_event(raw))
        return None if found is None or found.asks_again else found
