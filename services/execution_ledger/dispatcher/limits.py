"""Limits: what a pipeline and a runner may have at once. Never soft: what is taken stays taken until it is surely over.

An attempt takes its place when its Dispatch is asked for. An end that the runner reported frees it. After an end that
somebody else decided the code may still run, so the place is *held* until the runner no longer lists the token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from .board import Token


class Newest(NamedTuple):
    """A pipeline's newest version, and its limit."""

    version: int
    limit: int | None


class Limits:
    """How many of a pipeline may run at once, as its newest version says."""

    def __init__(self) -> None:
        self._newest: dict[str, Newest] = {}

    def newest(self) -> dict[str, Newest]:
        return dict(self._newest)

    def restore(self, newest: Mapping[str, Newest]) -> None:
        self._newest = dict(newest)

    def learn(self, pipeline: str, version: int, limit: int | None) -> None:
        known = self._newest.get(pipeline)
        if known is None or version >= known.version:
            self._newest[pipeline] = Newest(version, limit)

    def of(self, pipeline: str) -> int | None:
        known = self._newest.get(pipeline)
        return known.limit if known else None

    def allows(self, pipeline: str, running: int) -> bool:
        limit = self.of(pipeline)
        return limit is None or running < limit


class Taken(NamedTuple):
    runner: str
    pipeline: str
    alone: bool = False  # nothing else may be on that runner


class Held(NamedTuple):
    """A place that is held, and since when (recorded time)."""

    runner: str
    pipeline: str
    ended_ms: int
    alone: bool = False


class Slots:
    def __init__(self) -> None:
        self._taken: dict[Token, Taken] = {}
        self._held: dict[str, dict[Token, int]] = {}
        self._by_runner: Counter[str] = Counter()
        self._by_pipeline: Counter[str] = Counter()
        self._alone: Counter[str] = Counter()  # by runner

    def take(self, token: Token, place: Taken) -> None:
        """Taking a place that is taken moves it: the event is right, whatever was asked for."""
        self.free(token)
        self._taken[token] = place
        self._by_runner[place.runner] += 1
        self._by_pipeline[place.pipeline] += 1
        if place.alone:
            self._alone[place.runner] += 1

    def free(self, token: Token) -> None:
        if (place := self._taken.pop(token, None)) is None:
            return
        _count_down(self._by_runner, place.runner)
        _count_down(self._by_pipeline, place.pipeline)
        if place.alone:
            _count_down(self._alone, place.runner)
        if held := self._held.get(place.runner):
            held.pop(token, None)
            if not held:
                del self._held[place.runner]

    def hold(self, token: Token, ended_ms: int) -> None:
        if place := self._taken.get(token):
            self._held.setdefault(place.runner, {})[token] = ended_ms

    def held_by(self, runner: str) -> Mapping[Token, int]:
        """The tokens that are over for the ledger but perhaps not for this runner, and when they ended."""
        return dict(self._held.get(runner, {}))

    def holders(self) -> Collection[str]:
        return list(self._held)

    def held(self) -> Iterator[tuple[Token, Held]]:
        for runner, tokens in self._held.items():
            for token, ended_ms in tokens.items():
                place = self._taken[token]
                yield token, Held(runner, place.pipeline, ended_ms, place.alone)

    def __contains__(self, token: Token) -> bool:
        return token in self._taken

    def used_by(self, runner: str) -> int:
        return self._by_runner[runner]

    def is_alone(self, runner: str) -> bool:
        """Whether it has one that nothing may be beside."""
        return runner in self._alone

    def running(self, pipeline: str) -> int:
        return self._by_pipeline[pipeline]

    def taken_of(self, pipeline: str) -> Iterator[tuple[Token, str]]:
        """Each attempt that has a place of the limit, and its runner."""
        return ((token, taken.runner) for token, taken in self._taken.items() if taken.pipeline == pipeline)


def _count_down(counts: Counter[str], key: str) -> None:
    """Forgets what is at zero, so that names of dead runners do not pile up."""
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
