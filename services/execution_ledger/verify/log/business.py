"""Business ids: at most one execution of each runs at any instant, and they run in their order. A part of promise 6.

All of a business id live on one shard, so a shard can be judged alone; that it is one shard is judged over all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from execution_ledger.messages.events import Queued
from execution_ledger.messages.ids import business_key

from ..findings import Breach


class Business:
    """Of one shard: the live executions of each business id, in their order."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}  # the sequence of the first of each
        self._live: dict[str, list[str]] = {}
        self._keys: dict[str, str] = {}  # by live execution

    def queued(self, execution_id: str, fact: Queued, sequence: int) -> str | None:
        """What is wrong with it, in words."""
        if fact.business_id is None:
            return None
        key = business_key(fact.pipeline.name, fact.business_id)
        self.seen.setdefault(key, sequence)
        self._keys[execution_id] = key
        others = self._live.setdefault(key, [])
        others.append(execution_id)
        if len(others) > 1 and fact.if_live != "wait":
            return f"{others[0]} has the same business id {fact.business_id!r}, and has not ended"
        return None

    def dispatched(self, execution_id: str) -> str | None:
        first = self._live[self._keys[execution_id]][0] if execution_id in self._keys else execution_id
        return None if first == execution_id else f"{first} has the same business id, came first, and has not ended"

    def is_first(self, execution_id: str, business_id: str) -> bool:
        """Of those that have it and live."""
        key = self._keys.get(execution_id, "")
        return key.partition("/")[2] == business_id and self._live[key][0] == execution_id

    def ended(self, execution_id: str) -> None:
        if (key := self._keys.pop(execution_id, None)) is None:
            return
        self._live[key].remove(execution_id)
        if not self._live[key]:
            del self._live[key]


def check_places(shards: Iterable[tuple[int, dict[str, int]]]) -> Iterator[Breach]:
    """`shards` by number, with the business ids that each has."""
    where: dict[str, int] = {}
    for shard, seen in shards:
        for key, sequence in seen.items():
            if where.setdefault(key, shard) != shard:
                what = f"execution.queued: the business id {key!r} lives on shard {where[key]} already."
                yield Breach(6, shard, sequence, None, what)
