"""The simulated pipeline of steps: of its two branches each can fail, one of them at its first try alone."""

from __future__ import annotations

from typing import Any

from execution_ledger.sdk.attempt.context import Context
from execution_ledger.sdk.pipelines.pipeline import Pipeline, pipeline

from .pipelines import INPUTS, OUTPUTS, WITNESS, behave

NAME = "stepped"
_declared = pipeline(NAME, inputs=INPUTS, outputs=OUTPUTS)


@_declared.step(retries=2)
async def load(ctx: Context, manner: str, seconds: float) -> dict[str, Any]:
    with WITNESS.get().entered(ctx, NAME, manner=manner, seconds=seconds):
        if manner in ("warn", "fail") and ctx.try_ == 1:
            raise ValueError("busy")
        return {"rows": await behave(ctx, "done", 0.2)}


@_declared.step
def look(ctx: Context, manner: str, seconds: float) -> None:
    with WITNESS.get().entered(ctx, NAME, manner=manner, seconds=seconds):
        if manner == "fail" and int(ctx.execution_id[-1], 16) % 2:  # so that a rerun may come further
            raise ValueError("as asked")


@_declared.step(needs=[load], retries=1)
async def fit(ctx: Context, load: dict[str, Any], manner: str, seconds: float) -> dict[str, Any]:
    with WITNESS.get().entered(ctx, NAME, manner=manner, seconds=seconds):
        return {"model": (await behave(ctx, "warn" if manner == "fail" else manner, seconds))["n"]}


@_declared.step(needs=[look, fit])
async def tell(ctx: Context, fit: dict[str, Any], manner: str, seconds: float) -> dict[str, Any]:
    with WITNESS.get().entered(ctx, NAME, manner=manner, seconds=seconds):
        return {"n": fit["model"]}


def stepped() -> Pipeline:
    whole = _declared.whole()
    assert whole
    return whole
