"""Plans that show that a defence is gone: small ones are kept in `cases`, and found anew here when they no longer do.

In tests/: uv run python -m removal.search "fenced producer"        # looks for one in 300 seeds, and keeps it
           uv run python -m removal.search                          # the same for all whose plan shows nothing
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from itertools import chain
from pathlib import Path
from unittest.mock import patch

from rich.console import Console

from execution_ledger.trials.simulate import run as simulated
from execution_ledger.trials.simulate.plan import KINDS, Plan, draw
from execution_ledger.trials.simulate.run import Result, run
from execution_ledger.trials.simulate.seeds import Case
from execution_ledger.trials.simulate.shrink import shrink
from execution_ledger.trials.simulate.story import sentence_of
from removal.defence import Simulated
from removal.defences import SIMULATED

CASES = Path(__file__).parent / "cases"
STEPS = 20
SEEDS = 300
AGAIN = 20  # times that a kept plan is tried with other chances
SHRINK_TRIES = 40
HASTE_S = 10.0


def path_of(defence: Simulated) -> Path:
    return CASES / f"{defence.name.replace(' ', '-')}.json"


def kept(defence: Simulated) -> Plan | None:
    path = path_of(defence)
    return Case.model_validate_json(path.read_text()).plan if path.exists() else None


def run_without(defence: Simulated, plan: Plan) -> Result:
    """Of what is broken then only what this defence stands for. A broken history never comes to rest, so nobody waits
    for that but where rest itself is at stake.
    """
    patience = {"REST_S": HASTE_S, "STOP_S": HASTE_S} if 9 not in defence.breaks else {}
    with defence.without(), patch.dict(vars(simulated), patience):
        result = run(plan)
    return replace(result, breaches=[breach for breach in result.breaches if breach.promise in defence.breaks])


def find(defence: Simulated, seeds: range) -> Result | None:
    """A run that breaks a promise without the defence, of a plan that breaks none with it.

    The kept plan is tried first, with other chances: much of what it needs may have been aimed by hand.
    """
    plan = kept(defence)
    plans = [plan.model_copy(update={"seed": seed}) for seed in seeds[:AGAIN]] if plan else []
    for tried in chain(plans, (_drawn(defence, seed) for seed in seeds)):
        result = run_without(defence, tried)
        if result.breaches and not run(tried).breaches:
            return result
    return None


def _drawn(defence: Simulated, seed: int) -> Plan:
    """With those faults alone against which the defence stands."""
    kinds = {name: kind for name, kind in KINDS.items() if name in defence.against.split()}
    with patch.dict(KINDS, kinds or KINDS, clear=True):
        return draw(seed, STEPS)


def find_and_keep(name: str, seeds: range) -> str:
    defence = SIMULATED[name]
    if (found := find(defence, seeds)) is None:
        return f"{name}: {len(seeds)} seeds show nothing"
    best = found if _is_known(defence, found.plan) else _smaller(defence, found)
    why = sentence_of(best.breaches[0])
    path_of(defence).write_text(Case(why=why, plan=best.plan).model_dump_json(indent=1) + "\n")
    return f"{defence.name}: seed {best.plan.seed}, {best.plan.steps} steps. {why}"


def _is_known(defence: Simulated, plan: Plan) -> bool:
    """Whether it is the kept one, but for its chance."""
    known = kept(defence)
    return known is not None and plan.model_copy(update={"seed": known.seed}) == known


def _smaller(defence: Simulated, found: Result) -> Result:
    small = shrink(found, lambda plan: run_without(defence, plan), SHRINK_TRIES)
    return found if run(small.plan).breaches else small


def _shows(defence: Simulated) -> bool:
    plan = kept(defence)
    return plan is not None and bool(run_without(defence, plan).breaches)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    given = parser.parse_args()
    names = given.names or [name for name, defence in SIMULATED.items() if not _shows(defence)]
    seeds, context = range(given.first, given.first + given.seeds), multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), context) as pool:
        for found in as_completed([pool.submit(find_and_keep, name, seeds) for name in names]):
            Console().print(found.result(), markup=False)


if __name__ == "__main__":
    main()
