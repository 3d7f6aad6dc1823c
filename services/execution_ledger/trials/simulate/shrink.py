"""A plan that breaks a promise, made smaller for as long as it still breaks one of the same promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .plan import Ask, Fault, Plan
from .run import Result

TRIES_MAX = 150


def shrink(failed: Result, play: Callable[[Plan], Result], tries_max: int = TRIES_MAX) -> Result:
    """The smallest that was found. First halves of what there is are left out, then ever smaller pieces."""
    smallest, tries = failed, 0
    size = max(1, failed.plan.steps // 2)
    while tries < tries_max:
        for plan in _without(smallest.plan, size):
            tries += 1
            result = play(plan)
            if result.promises & failed.promises:
                smallest = result
                break
            if tries == tries_max:
                break
        else:
            if size == 1:
                break
            size = max(1, size // 2)
    return smallest


def _without(plan: Plan, size: int) -> Iterator[Plan]:
    """Every plan that lacks `size` parts which stand side by side."""
    parts: list[Fault | Ask] = [*plan.faults, *plan.asks]
    for first in range(0, len(parts), size):
        left = parts[:first] + parts[first + size :]
        faults = [part for part in left if isinstance(part, Fault)]
        yield plan.model_copy(update={"faults": faults, "asks": [part for part in left if isinstance(part, Ask)]})
