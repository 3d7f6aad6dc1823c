"""What a shard remembers for a while: two generations of a map, so that forgetting costs nothing per entry.

Everything is a function of the log: generations turn by recorded time and by count, never by a clock, so a replay
remembers exactly what the live ledger did. An entry lives for at least one span; after three, or when nothing more came
for two, the next one that comes finds it gone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from rpds import HashTrieMap

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Remembered(Generic[V]):
    span_ms: int
    entries_max: int
    since_ms: int = 0
    recent: HashTrieMap[str, V] = field(default_factory=HashTrieMap)
    older: HashTrieMap[str, V] = field(default_factory=HashTrieMap)

    def get(self, key: str) -> V | None:
        found = self.recent.get(key)
        return self.older.get(key) if found is None else found

    def adding(self, key: str, value: V, now_ms: int) -> Remembered[V]:
        if now_ms - self.since_ms >= self.span_ms or len(self.recent) >= self.entries_max:
            still_young = now_ms - self.since_ms < 2 * self.span_ms
            older: HashTrieMap[str, V] = self.recent if still_young else HashTrieMap()
            return Remembered(self.span_ms, self.entries_max, now_ms, HashTrieMap({key: value}), older)
        return Remembered(self.span_ms, self.entries_max, self.since_ms, self.recent.insert(key, value), self.older)
