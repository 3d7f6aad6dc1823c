"""Trying again what can help itself: forever, because the caller decides by cancelling, but never fast."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from execution_ledger.errors import Transient

DELAY_FIRST_S = 0.05
DELAY_MAX_S = 5.0
DELAY_HURRIED_MAX_S = 0.1

_log = structlog.get_logger()
T = TypeVar("T")


async def persist(work: Callable[[], Awaitable[T]], what: str, chance: random.Random, *, hurried_s: float = 0.0) -> T:
    """Repeats `work` while it raises Transient, with delays that grow to DELAY_MAX_S and jitter.

    For the first `hurried_s` seconds they stay below DELAY_HURRIED_MAX_S: what starts together is there in a moment.
    """
    now_s, delay_s = asyncio.get_running_loop().time, DELAY_FIRST_S
    calm_s = now_s() + hurried_s
    while True:
        began_s = now_s()
        try:
            return await work()
        except Transient as error:
            _log.warning("trying again", what=what, error=str(error), delay_s=round(delay_s, 2))
        await asyncio.sleep(delay_s * chance.uniform(0.5, 1.0))
        long_well = now_s() - began_s > 2 * DELAY_MAX_S
        longest_s = DELAY_MAX_S if now_s() >= calm_s else DELAY_HURRIED_MAX_S
        delay_s = DELAY_FIRST_S if long_well else min(delay_s * 2, longest_s)
