"""Many seeds, on all cores: every run is a world of its own, so they go side by side in processes."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from itertools import islice
from pathlib import Path

from .plan import Part, Plan, draw
from .run import Result, run

AHEAD = 4  # runs a process that are handed out before they are needed


class Case(Part):
    """A plan that once broke a promise, kept so that it never does again. `why`: what it showed."""

    why: str
    plan: Plan


def run_plans(plans: Iterable[Plan]) -> Iterator[Result]:
    """As they come to their end. Whoever stops asking waits for those under way, and for no more."""
    processes = os.cpu_count() or 1
    rest = iter(plans)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(processes, context, _begin) as pool:
        running = {pool.submit(run, plan) for plan in islice(rest, AHEAD * processes)}
        try:
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                running |= {pool.submit(run, plan) for plan in islice(rest, len(done))}
                yield from (each.result() for each in done)
        finally:
            pool.shutdown(cancel_futures=True)


def run_seeds(seeds: Iterable[int], steps: int) -> Iterator[Result]:
    return run_plans(draw(seed, steps) for seed in seeds)


def read_cases(folder: Path) -> dict[str, Case]:
    return {path.stem: Case.model_validate_json(path.read_text()) for path in sorted(folder.glob("*.json"))}


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    gc.freeze()
