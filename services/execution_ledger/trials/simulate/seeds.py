"""Many seeds, on all cores: every run is a world of its own, so they go side by side in processes.

The processes are fed through pipes. A pool of the standard library has named semaphores, which outlive a command that
is killed.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple

from execution_ledger.errors import Unavailable

from .plan import Part, Plan, draw
from .run import Result, run

_CONTEXT = multiprocessing.get_context("forkserver")


class Case(Part):
    """A plan that once broke a promise, kept so that it never does again. `why`: what it showed."""

    why: str
    plan: Plan


class Worker(NamedTuple):
    process: multiprocessing.process.BaseProcess
    pipe: Connection

    def end(self) -> None:
        """In the middle of a run, too: nobody waits for that one any more."""
        self.pipe.close()
        self.process.terminate()
        self.process.join()


def run_plans(plans: Iterable[Plan]) -> Iterator[Result]:
    """As they come to their end. Raises what a run raised, and Unavailable where a process died."""
    rest = iter(plans)
    workers = _start(os.cpu_count() or 1)
    try:
        running = {worker.pipe: plan for worker, plan in zip(workers, rest, strict=False)}
        for pipe, plan in running.items():
            pipe.send(plan)
        while running:
            ready = wait(list(running))
            for pipe in [each for each in running if each in ready]:
                yield _outcome(pipe, running.pop(pipe))
                if following := next(rest, None):
                    running[pipe] = following
                    pipe.send(following)
    finally:
        for worker in workers:
            worker.end()


def run_seeds(seeds: Iterable[int], steps: int) -> Iterator[Result]:
    return run_plans(draw(seed, steps) for seed in seeds)


def read_cases(folder: Path) -> dict[str, Case]:
    return {path.stem: Case.model_validate_json(path.read_text()) for path in sorted(folder.glob("*.json"))}


def _start(count: int) -> list[Worker]:
    _CONTEXT.set_forkserver_preload([__name__])
    workers = []
    with _deaf_to_ctrl_c():
        for _ in range(count):
            ours, theirs = _CONTEXT.Pipe()
            process = _CONTEXT.Process(target=_work, args=(theirs,), daemon=True)
            process.start()
            theirs.close()  # so that it ends when its own end is the only one left
            workers.append(Worker(process, ours))
    return workers


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Processes that are begun now never hear it: it is this one's to answer."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _work(pipe: Connection) -> None:
    gc.freeze()
    with suppress(EOFError, BrokenPipeError):  # whoever feeds it is gone
        while True:
            pipe.send(_play(pipe.recv()))


def _play(plan: Plan) -> Result | Exception:
    try:
        return run(plan)
    except Exception as error:  # noqa: BLE001 - it is raised where the result is waited for
        error.add_note(traceback.format_exc())
        return error


def _outcome(pipe: Connection, plan: Plan) -> Result:
    try:
        outcome: Result | Exception = pipe.recv()
    except EOFError:
        raise Unavailable(f"The process that played seed {plan.seed} has died. Play that seed alone.") from None
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
