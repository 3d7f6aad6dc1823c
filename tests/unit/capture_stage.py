"""Tests whose prints are routed as in a runner: inside the test, since pytest puts its own `sys.stdout` back before."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import structlog

from execution_ledger.runner.capture import redirect

Test = TypeVar("Test", bound=Callable[..., Any])


@contextmanager
def redirecting() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(processors=[*before["processors"]], cache_logger_on_first_use=False)
    undo = redirect()
    try:
        yield
    finally:
        undo()
        structlog.configure(**before)


def redirected(test: Test) -> Test:
    @functools.wraps(test)
    def plain(*args: Any, **kwargs: Any) -> None:
        with redirecting():
            test(*args, **kwargs)

    @functools.wraps(test)
    async def awaited(*args: Any, **kwargs: Any) -> None:
        with redirecting():
            await test(*args, **kwargs)

    return awaited if inspect.iscoroutinefunction(test) else plain  # type: ignore[return-value]
