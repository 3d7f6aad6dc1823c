"""Each defence is taken out, and the simulator's checks see that it is gone: on a small kept plan, which breaks nothing
while the defence is in.

A change of code moves what chance decides, so a kept plan may stop showing anything. Then it is tried with other
chances, and fresh plans are; where they show nothing either, `search.py` finds and keeps a new plan.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from execution_ledger.trials.simulate.loop import VirtualLoop
from execution_ledger.trials.simulate.run import run
from execution_ledger.trials.simulate.story import sentence_of
from removal.defences import DEFENCES, SIMULATED, TESTED
from removal.instead import asked
from removal.search import CASES, find, kept, path_of, run_without

FRESH = 40
DOCUMENT = Path(__file__).parents[2] / "services" / "defences.md"


@pytest.mark.parametrize("name", SIMULATED)
def test_a_promise_breaks_without_it(name: str) -> None:
    defence, plan = SIMULATED[name], kept(SIMULATED[name])
    asked.clear()
    if plan is None or not run_without(defence, plan).breaches:
        first = random.SystemRandom().randrange(2**31)
        found = find(defence, range(first, first + FRESH))
        assert found, f'its kept plan shows nothing any more. In tests/: uv run python -m removal.search "{name}"'
    assert all(asked.values()), f"nobody asked what stands in for it, so it was not taken out: {asked}"


@pytest.mark.parametrize("name", SIMULATED)
def test_its_plan_breaks_nothing_while_it_is_in(name: str) -> None:
    plan = kept(SIMULATED[name])
    breaches = run(plan).breaches if plan else []
    assert not breaches, "\n".join(sentence_of(breach) for breach in breaches)


@pytest.mark.parametrize("name", TESTED)
def test_its_own_test_fails_without_it(name: str) -> None:
    defence = TESTED[name]
    asked.clear()
    with defence.without(), pytest.raises((AssertionError, TimeoutError)):
        run_to_end(defence.test)
    assert all(asked.values()), f"nobody asked what stands in for it, so it was not taken out: {asked}"


def run_to_end(test: Callable[[], Coroutine[Any, Any, None] | None]) -> None:
    """Waiting in vain costs nothing: time is virtual."""
    if (running := test()) is not None:
        with asyncio.Runner(loop_factory=lambda: VirtualLoop(1)) as runner:
            runner.run(running)


def test_every_kept_plan_is_that_of_a_defence() -> None:
    assert {path_of(defence) for defence in SIMULATED.values()} == set(CASES.glob("*.json"))


def test_the_document_lists_every_defence() -> None:
    rows = [f"| {defence.name} | {defence.protects} |" for defence in DEFENCES]
    told = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| ")]
    assert told[1:] == rows, "\n".join(rows)
