"""The pipelines of `exledger demo`. The twin is the asset that each is about: a country, or a stock."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NoReturn

from execution_ledger import Context, pipeline

from .data import life_expectancies, prices

Point = tuple[float, float]

WEEK_S = 0.05  # of replay
RESAMPLES_PER_TURN = 50  # then others have their turn, and an abort can end it


@pipeline(outputs={"slope": "number", "summary": "string"}, template="country")
def trend(ctx: Context) -> dict[str, Any]:
    """How a country's life expectancy changes per year, by least squares."""
    points = [point for point in life_expectancies(str(ctx.twin)) if point[0] >= ctx.properties["since"]]
    found = slope(points)
    return {"slope": found, "summary": f"{found:+.2f} years of life a year"}


@pipeline(outputs={"month": "string", "change": "number", "summary": "string"}, template="stock")
def best_month(ctx: Context) -> dict[str, Any]:
    """The month in which a stock rose most, from the last price of the month before."""
    last = {day[:7]: price for day, price in prices(str(ctx.twin))}
    month, change = max(
        ((month, last[month] / last[before] - 1) for before, month in pairwise(last)), key=lambda each: each[1]
    )
    return {"month": month, "change": change, "summary": f"{change:+.0%} in {month}"}


@pipeline(
    inputs={"resamples": {"type": "number", "min": 1}},
    outputs={"low": "number", "high": "number", "summary": "string"},
    limit=1,
    template="country",
)
async def interval(ctx: Context, resamples: float) -> dict[str, Any]:
    """How sure the trend is: a bootstrap interval of 95 %. Heavy work, so one at a time."""
    points = life_expectancies(str(ctx.twin))
    chance = random.Random(1)  # noqa: S311  # the same samples in every run
    found = []
    for done in range(int(resamples)):
        if done % RESAMPLES_PER_TURN == 0:
            await asyncio.sleep(0)
        found.append(slope(chance.choices(points, k=len(points))))
    found.sort()
    low, high = found[round(0.025 * len(found))], found[round(0.975 * len(found)) - 1]
    return {"low": low, "high": high, "summary": f"95 % sure: {low:+.2f} to {high:+.2f}"}


@pipeline(inputs={"fall": {"type": "number", "min": 0, "max": 1}}, outputs={}, template="stock")
async def watch(ctx: Context, fall: float) -> NoReturn:
    """Replays a stock and warns when it falls by more than `fall` in a week; goes on until it is aborted."""
    weeks = list(pairwise(prices(str(ctx.twin))))
    while True:
        for (_, before), (day, price) in weeks:
            if price < before * (1 - fall):
                ctx.warn(f"{day}: {price / before - 1:+.0%} in a week")
            await asyncio.sleep(WEEK_S)


def slope(points: Sequence[Point]) -> float:
    """Of the least-squares line; 0 where all points have the same x."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
