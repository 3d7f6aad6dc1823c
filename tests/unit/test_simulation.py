"""Fresh seeds and all kept cases: the real services in memory, on a virtual clock, while everything goes wrong.

A failure names its seed: `exledger simulate --seed N` plays it again, makes it small, and tells what happened.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from execution_ledger.trials.simulate.plan import draw
from execution_ledger.trials.simulate.run import Result, run
from execution_ledger.trials.simulate.seeds import read_cases, run_seeds
from execution_ledger.trials.simulate.story import sentence_of
from execution_ledger.trials.simulate.tally import EXPECTED

CASES = read_cases(Path(__file__).parent.parent / "simulated_cases")
FRESH = 200
FRESH_MAX = 1_000  # the rarest of what is expected occurs in one of a hundred
STEPS = 40
TIMES_REAL_MIN = 50  # of one core; 100 and more where nothing else runs


def told(result: Result) -> str:
    breaches = "\n".join(sentence_of(breach) for breach in result.breaches)
    return f"exledger simulate --seed {result.plan.seed} --steps {STEPS}\n{breaches}"


def fresh() -> Iterator[Result]:
    """FRESH of them, and more while something that is rare has not occurred."""
    first = random.SystemRandom().randrange(2**31)
    missing = set(EXPECTED)
    for at in range(0, FRESH_MAX, FRESH):
        for result in run_seeds(range(first + at, first + at + FRESH), STEPS):
            missing -= set(result.tally)
            yield result
        if not missing:
            return
    raise AssertionError(f"these never occurred, so nothing was said of them: {sorted(missing)}")


def test_fresh_seeds_break_no_promise() -> None:
    results = list(fresh())
    failed = [result for result in results if result.breaches]
    assert not failed, "\n".join(told(result) for result in failed)
    assert sum(result.virtual_s for result in results) > TIMES_REAL_MIN * sum(result.core_s for result in results)
    assert sum(result.executions for result in results) > 5 * len(results)


@pytest.mark.parametrize("name", CASES)
def test_what_was_once_broken_stays_whole(name: str) -> None:
    result = run(CASES[name].plan)
    assert result.breaches == [], "\n".join(result.story)


def test_a_run_follows_from_its_seed() -> None:
    first, second = (run(draw(7, STEPS)) for _ in range(2))
    assert (first.events, first.executions, first.virtual_s) == (second.events, second.executions, second.virtual_s)
