"""A defence, and how it is known that it is needed.

`Simulated`: the simulator and its checks see that it is gone. `Tested`: it stands against what the simulated log never
does, losing what it has confirmed, or keeps up what no simulated client looks at; so a test of its own shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Defence:
    name: str
    protects: str
    without: Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True)
class Simulated(Defence):
    """`breaks`: the promises of which one at least no longer holds. `against`: the kinds of fault it stands against."""

    breaks: Set[int]
    against: str


@dataclass(frozen=True)
class Tested(Defence):
    test: Callable[[], Coroutine[Any, Any, None] | None]
