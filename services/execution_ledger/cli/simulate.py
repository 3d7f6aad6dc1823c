"""`exledger simulate`: the real services in a virtual world where everything goes wrong, checked promise by promise."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import BadRequest
from .terminal.output import console, duration, show_note, show_table

if TYPE_CHECKING:
    from ..trials.simulate.run import Result

BROKEN = 1
SHRUNK_MAX = 3  # failures that are made small and told; the others are only counted
SEED_MAX = 2**31
EPILOG = """\b
Examples:
  exledger simulate
  exledger simulate --seeds 10000
  exledger simulate --seeds 200 --tally
  exledger simulate --seed 42 --steps 80"""

Seed = Annotated[int | None, typer.Option(metavar="N", help="The first seed; without it a fresh one. Printed always.")]
Seeds = Annotated[int | None, typer.Option(metavar="M", min=1, help="How many seeds: 1 with --seed, else 200.")]
Steps = Annotated[int, typer.Option(metavar="K", min=0, help="Faults and requests in each run.")]
CaseFile = Annotated[Path | None, typer.Option(metavar="FILE", help="Play a kept case instead.")]
Keep = Annotated[Path | None, typer.Option(metavar="DIR", help="Keep each failure, made small, as a case here.")]
Tallied = Annotated[bool, typer.Option("--tally", help="Show how often each fault, event and transition occurred.")]


def simulate(
    seed: Seed = None,
    seeds: Seeds = None,
    steps: Steps = 40,
    case: CaseFile = None,
    keep: Keep = None,
    tally: Tallied = False,
) -> None:
    """Run the real services on a virtual clock, with processes, log, views and clocks failing at random.

    A run follows from its seed alone. A failure is made small and told as a story. Exit code 1: a promise is broken.
    """
    if case is not None:
        results: Iterable[Result] = [_play(case)]
        count = 1
    else:
        first = random.SystemRandom().randrange(SEED_MAX) if seed is None else seed
        count = seeds or (200 if seed is None else 1)
        show_note(f"Seeds {first} to {first + count - 1}, {steps} steps each. Again: {_again(first, steps, count)}")
        results = _run(range(first, first + count), steps)
    totals = Totals()
    failed = _watch(results, count, totals)
    if tally:
        _show_tally(totals)
    for result in failed[:SHRUNK_MAX]:
        _tell(result, keep, steps)
    if failed:
        raise typer.Exit(BROKEN)


def _again(seed: int, steps: int, seeds: int = 1) -> str:
    return f"exledger simulate --seed {seed} --steps {steps}" + (f" --seeds {seeds}" if seeds > 1 else "")


def _run(seeds: range, steps: int) -> Iterator[Result]:
    from ..trials.simulate.plan import draw
    from ..trials.simulate.run import run
    from ..trials.simulate.seeds import run_seeds

    return run_seeds(seeds, steps) if len(seeds) > 1 else iter([run(draw(seeds[0], steps))])


def _play(path: Path) -> Result:
    from ..trials.simulate.run import run
    from ..trials.simulate.seeds import Case

    try:
        return run(Case.model_validate_json(path.read_text()).plan)
    except (OSError, ValueError) as error:
        raise BadRequest(f"{path} is no case: {error}") from None


def _watch(results: Iterable[Result], count: int, totals: Totals) -> list[Result]:
    """Goes through all, with a bar on a terminal; gives back those that broke a promise."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    failed: list[Result] = []
    began_s = time.monotonic()
    screen = console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("runs", total=count)
        for result in results:
            failed += [result] if result.breaches else []
            totals.add(result)
            bar.update(task, advance=1, description=f"runs, {len(failed)} broken" if failed else "runs")
    runs = "1 run" if count == 1 else f"{count:,} runs"
    verdict = f"A promise is broken in {len(failed)} of {runs}" if failed else f"All promises hold in {runs}"
    console().print(f"{verdict}: {totals.words(time.monotonic() - began_s)}")
    return failed


@dataclass
class Totals:
    events: int = 0
    executions: int = 0
    virtual_s: float = 0.0
    core_s: float = 0.0
    times: Counter[str] = field(default_factory=Counter)  # how often each thing occurred, over all runs
    runs: Counter[str] = field(default_factory=Counter)  # in how many of them

    def add(self, result: Result) -> None:
        self.events += result.events
        self.executions += result.executions
        self.virtual_s += result.virtual_s
        self.core_s += result.core_s
        self.times.update(result.tally)
        self.runs.update(result.tally.keys())

    def words(self, took_s: float) -> str:
        rate = self.virtual_s / max(self.core_s, 1e-9)
        return (
            f"{self.executions:,} executions, {self.events:,} events; {duration(self.virtual_s)} of virtual time in "
            f"{duration(took_s)}, {rate:,.0f} times real time on one core."
        )


def _show_tally(totals: Totals) -> None:
    """What should occur in many runs, and did not in these, is there with a zero."""
    from ..trials.simulate.tally import EXPECTED

    names = sorted(totals.times.keys() | set(EXPECTED))
    show_table(("WHAT", "TIMES", "RUNS"), ((name, f"{totals.times[name]:,}", totals.runs[name]) for name in names))


def _tell(result: Result, keep: Path | None, steps: int) -> None:
    from ..trials.simulate.run import run
    from ..trials.simulate.seeds import Case
    from ..trials.simulate.shrink import shrink

    seed = result.plan.seed
    show_note(f"Seed {seed} ({_again(seed, steps)}) is made small …")
    small = shrink(result, run)
    console().print(f"\nSeed {seed}, {small.plan.steps} of {result.plan.steps} steps are enough:")
    for line in small.story:
        console().print(line)
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        path = keep / f"seed-{seed}.json"
        path.write_text(Case(why=small.story[-1], plan=small.plan).model_dump_json(indent=1) + "\n")
        show_note(f"Kept as {path}. Again: exledger simulate --case {path}")
