"""Capture: whose code it is that prints, in a process that runs many attempts at once.

`PLACE` says which attempt's log the current code writes to. Async code carries it in its context; threads and the work
of thread pools get it from whoever starts them. What is written outside of any attempt, or behind the end of one, goes
where it always went; so does what another process writes, or code that writes to file descriptors.
"""

from __future__ import annotations

import contextvars
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, NamedTuple, TextIO, TypeVar, cast

import structlog

from .captured import Captured

T = TypeVar("T")


class Place(NamedTuple):
    captured: Captured
    step: str | None = None


PLACE: contextvars.ContextVar[Place | None] = contextvars.ContextVar("place", default=None)


def here() -> Place | None:
    """Where the current code writes; None outside of attempts, and behind the end of one."""
    place = PLACE.get()
    return place if place and place.captured.open else None


@contextmanager
def inside(place: Place | None) -> Iterator[None]:
    """What runs in here, and all that it starts, writes to `place`."""
    token = PLACE.set(place)
    try:
        yield
    finally:
        PLACE.reset(token)


@contextmanager
def in_step(name: str | None) -> Iterator[None]:
    """The same attempt's log, with the step's name in every line."""
    place = PLACE.get()
    with inside(place and place._replace(step=name)):
        yield


def carried(work: Callable[[], T]) -> Callable[[], T]:
    """`work`, to be called in another thread, with the place that it has here."""
    return partial(_call, PLACE.get(), work)


def redirect() -> Callable[[], None]:
    """From now on what this process writes goes where `here` says, for good or until the answer is called.

    `print`, the standard library's logging (from INFO on) and structlog as this project configures it.
    """
    undoing = [*_redirect_files(), *_redirect_logging(), _redirect_structlog(), *_carry_into_threads()]

    def undo() -> None:
        for one in reversed(undoing):
            one()

    return undo


def _call(place: Place | None, work: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    with inside(place):
        return work(*args, **kwargs)


# --- print ------------------------------------------------------------------------------------------------------


class Routed:
    """Stands for `sys.stdout` or `sys.stderr`; everything but writing is the real one's."""

    def __init__(self, name: Literal["stdout", "stderr"], real: TextIO) -> None:
        self._name, self._real = name, real

    def write(self, text: str) -> int:
        if (place := here()) is None:
            return self._real.write(text)
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        place.captured.write(self._name, text, place.step)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if here() is None:
            self._real.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def _redirect_files() -> Iterator[Callable[[], None]]:
    names: tuple[Literal["stdout", "stderr"], ...] = ("stdout", "stderr")
    for name in names:
        real = getattr(sys, name)
        setattr(sys, name, cast(TextIO, Routed(name, real)))
        yield partial(setattr, sys, name, real)


# --- logging ----------------------------------------------------------------------------------------------------


class ToPlace(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if place := here():
            try:
                place.captured.line("logging", self.format(record), record.levelname.lower(), place.step)
            except Exception:  # noqa: BLE001 - whatever the code gave it to format; logging says so on standard error
                self.handleError(record)


def _redirect_logging() -> Iterator[Callable[[], None]]:
    """INFO as well; other handlers get none of what an attempt says, and of the rest as much as before."""
    root, handler = logging.getLogger(), ToPlace()
    level = root.level
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    for other in root.handlers:
        other.addFilter(_is_nobodys)
        yield partial(other.removeFilter, _is_nobodys)
        yield partial(other.setLevel, other.level)
        other.setLevel(max(other.level, level))
    root.addHandler(handler)
    yield partial(root.removeHandler, handler)
    root.setLevel(min(level, logging.INFO))
    yield partial(root.setLevel, level)


def _is_nobodys(record: logging.LogRecord) -> bool:
    return here() is None


def _redirect_structlog() -> Callable[[], None]:
    """In the very list that loggers hold which were made before."""
    processors = structlog.get_config()["processors"]
    processors.insert(0, _to_place)
    return partial(processors.remove, _to_place)


def _to_place(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if (place := here()) is None:
        return event
    place.captured.line("structlog", _sentence(logger, method, event), method, place.step)
    raise structlog.DropEvent


def _sentence(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    """The event, its fields as `key=value`, and the traceback below."""
    told = dict(structlog.processors.format_exc_info(logger, method, event))
    text, trace = told.pop("event", ""), told.pop("exception", None)
    fields = [f"{key}={value if isinstance(value, str) else repr(value)}" for key, value in told.items()]
    return " ".join([str(text), *fields]) + (f"\n{trace}" if trace else "")


# --- threads ----------------------------------------------------------------------------------------------------


def _carry_into_threads() -> Iterator[Callable[[], None]]:
    """Python 3.11 gives neither threads nor the work of pools a context of their own."""
    start, submit = threading.Thread.start, ThreadPoolExecutor.submit

    def start_here(self: threading.Thread) -> None:
        if place := here():
            self.run = partial(_run, place, self.run)  # type: ignore[method-assign]
        start(self)

    def submit_here(self: ThreadPoolExecutor, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        return submit(self, partial(_call, PLACE.get(), fn), *args, **kwargs)

    threading.Thread.start = start_here  # type: ignore[method-assign]
    yield partial(setattr, threading.Thread, "start", start)
    ThreadPoolExecutor.submit = submit_here  # type: ignore[assignment, method-assign]
    yield partial(setattr, ThreadPoolExecutor, "submit", submit)


def _run(place: Place, run: Callable[[], None]) -> None:
    """Not undone behind it: what the thread dies of is told by its excepthook."""
    PLACE.set(place)
    run()
