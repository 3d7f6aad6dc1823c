"""Pipelines that do what they should not, each as its name or its input says; and some that are well."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from execution_ledger import Context, pipeline

MEGABYTES = 20


def numbers() -> Iterator[int]:
    yield 1


async def forgotten() -> None: ...


def fail(error: BaseException) -> Any:
    raise error


def overflow() -> Any:
    return overflow()


def leave_a_thread_that_exits() -> dict[str, Any]:
    thread = threading.Thread(target=sys.exit, args=(3,))
    thread.start()
    thread.join()
    return {}


def print_much(text: str) -> dict[str, Any]:
    for stream in (sys.stdout, sys.stderr):
        for _ in range(MEGABYTES // 2):
            stream.write(text * (1_000_000 // len(text)))
    return {}


def close_streams() -> dict[str, Any]:
    sys.stdout.close()
    sys.stderr.close()
    return {}


BAD: dict[str, Callable[[], Any]] = {
    "returns a generator": numbers,
    "returns a coroutine": forgotten,
    "returns NaN": lambda: {"x": float("nan")},
    "returns bytes": lambda: {"x": b"x"},
    "returns a huge integer": lambda: {"x": 10**5_000},
    "returns too much": lambda: {"x": "x" * 1_000_000},
    "exits": lambda: sys.exit(3),
    "overflows": overflow,
    "has no memory": lambda: fail(MemoryError()),
    "is cancelled": lambda: fail(asyncio.CancelledError()),
    "is interrupted": lambda: fail(KeyboardInterrupt()),
    "closes itself": lambda: fail(GeneratorExit()),
    "fails at length": lambda: fail(ValueError("x" * 10_000_000)),
    "fails in a group": lambda: fail(ExceptionGroup("all of it", [ValueError(), TypeError()])),
    "has an exit in a thread": leave_a_thread_that_exits,
    "prints lines": lambda: print_much("0123456789\n"),
    "prints no newline": lambda: print_much("0123456789"),
    "prints control characters": lambda: print_much("\x1b[2J\x1b]0;title\x07\x00\x9b31m\r\b"),
    "closes its streams": close_streams,
}


@pipeline
def plain(context: Context, how: str):  # type: ignore[no-untyped-def]
    return BAD[how]()


@pipeline
async def on_the_loop(context: Context, how: str):  # type: ignore[no-untyped-def]
    return BAD[how]()


@pipeline
async def deaf(context: Context) -> None:
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


@pipeline
async def waits(context: Context, seconds: float) -> None:
    await asyncio.sleep(seconds)


@pipeline
async def blocks_the_loop(context: Context) -> None:
    threading.Event().wait()  # forever


ENDS: dict[str, Callable[[], Any]] = {
    "exit": lambda: os._exit(0),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "abort": os.abort,
}


@pipeline
def ends_its_process(context: Context, how: str) -> None:
    ENDS[how]()
