"""Trying again: at first quickly where that was asked for, then ever more slowly."""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise

import pytest

from execution_ledger.errors import Unavailable
from execution_ledger.runner.retry import DELAY_FIRST_S, DELAY_HURRIED_MAX_S, persist
from execution_ledger.trials.simulate.loop import VirtualLoop


def tries(tries_max: int, hurried_s: float) -> list[float]:
    """When each try was made, in seconds from the first, until one succeeds."""
    times: list[float] = []

    async def work() -> None:
        times.append(asyncio.get_running_loop().time())
        if len(times) < tries_max:
            raise Unavailable("not yet")

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(1)) as runner:
        runner.run(persist(work, "a test", random.Random(1), hurried_s=hurried_s))
    return [time - times[0] for time in times]


def test_what_starts_at_the_same_time_is_asked_again_quickly_and_later_slowly() -> None:
    times = tries(60, hurried_s=3.0)
    gaps = {at: next_at - at for at, next_at in pairwise(times)}
    assert max(gap for at, gap in gaps.items() if at < 2.9) <= DELAY_HURRIED_MAX_S
    assert max(gaps.values()) > 2.0


@pytest.mark.parametrize("hurried_s", [0.0, 3.0])
def test_no_try_follows_at_once(hurried_s: float) -> None:
    assert min(next_at - at for at, next_at in pairwise(tries(20, hurried_s))) >= DELAY_FIRST_S / 2


def test_delays_grow_from_the_beginning_where_nothing_is_known_to_start() -> None:
    assert max(next_at - at for at, next_at in pairwise(tries(6, hurried_s=0.0))) > 0.3
