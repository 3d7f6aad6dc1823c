"""The pipelines that `exledger dev` serves where there is no ./pipelines.py: small, and each shows one thing."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

from execution_ledger import Context, pipeline


@pipeline(inputs={"n": "number"}, outputs={"n": "number"})
def double(ctx: Context, n: float) -> dict[str, Any]:
    """Twice the number: the shortest pipeline that does something."""
    return {"n": n * 2}


@pipeline(inputs={"text": "string"}, outputs={"words": "number", "most_common": "array"})
def count_words(ctx: Context, text: str) -> dict[str, Any]:
    """How many words a text has, and its three most common ones."""
    words = text.lower().split()
    return {"words": len(words), "most_common": [word for word, _ in Counter(words).most_common(3)]}


@pipeline(inputs={"seconds": "number"}, outputs={"slept": "number"})
async def sleepy(ctx: Context, seconds: float) -> dict[str, Any]:
    """Takes its time, and can be aborted meanwhile: an abort cancels what it awaits."""
    await asyncio.sleep(seconds)
    return {"slept": seconds}


@pipeline(outputs={"began": "number"})
def stamp(ctx: Context) -> dict[str, Any]:
    """When its first line ran, in seconds since 1970: what `exledger bench latency` measures with."""
    return {"began": time.time()}


@pipeline(inputs={"message": "string"}, outputs={})
def fail(ctx: Context, message: str) -> dict[str, Any]:
    """Fails with a message: what a failure looks like in the ledger."""
    raise RuntimeError(message)


@pipeline(inputs={"n": "number"}, outputs={"n": "number"}, limit=1)
async def one_at_a_time(ctx: Context, n: float) -> dict[str, Any]:
    """Half the number, after half a second: however many are asked for, one runs at a time."""
    await asyncio.sleep(0.5)
    return {"n": n / 2}
