"""Taking something out: another function in its place, which must take what the one before took, and must be asked.

One that no longer fits, or that nobody calls any more, would change nothing and still seem to; or it would raise, and
what breaks then would say nothing of the defence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import signature
from typing import Any
from unittest.mock import patch

asked: Counter[str] = Counter()  # how often each stand-in was, since `asked` was cleared


@contextmanager
def instead(of: Any, name: str, stand_in: Callable[..., Any]) -> Iterator[None]:
    """`of` is the class or module, and a property is stood in for by a function. Raises AssertionError."""
    real = getattr(of, name)
    is_property = isinstance(real, property)
    known, given = parameters(real.fget if is_property else real), parameters(stand_in)
    assert known == given, f"{name} takes {known}, and what stands in for it {given}"

    @wraps(stand_in)
    def noticed(*args: Any, **named: Any) -> Any:
        asked[name] += 1
        return stand_in(*args, **named)

    asked[name] += 0
    with patch.object(of, name, property(noticed) if is_property else noticed):
        yield


def parameters(function: Callable[..., Any]) -> list[tuple[str, object]]:
    return [(each.name, each.kind) for each in signature(function).parameters.values()]
