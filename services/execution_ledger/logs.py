"""Structured logs: lines for a person at a terminal, JSON for everything else."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys

import structlog

STDERR = 2
REPEATED_S = 5.0  # what a library says again within this time is dropped …
REMEMBERED_MAX = 200  # … while it says no more different things than these


class Lossy(io.TextIOWrapper):
    """A line that cannot be written, on a full disk, is lost: a service can do without it, and not without its work."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            super().write(text)
        return len(text)


class Calm(logging.Filter):
    """A library that tries again at once says so each time: of a deleted topic, 50 MB in two minutes."""

    def __init__(self) -> None:
        super().__init__()
        self._said_s: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        what = f"{record.name} {record.getMessage()}"
        if record.created - self._said_s.get(what, 0.0) < REPEATED_S:
            return False
        if len(self._said_s) >= REMEMBERED_MAX:
            self._said_s.clear()
        self._said_s[what] = record.created
        return True


def configure_logs(service: str, as_json: bool | None = None) -> None:
    """Everything to standard error, with the service's name in every line; aiokafka's and asyncio's warnings too.

    A line about one shard, execution or place in the log says so in `shard`, `execution` (its id) and `position`
    (`shard:sequence`). None: JSON wherever standard error is no terminal.

    Through a stream of our own: what closes or replaces `sys.stderr`, as code of users may, leaves the logs alone.
    """
    as_json = not sys.stderr.isatty() if as_json is None else as_json
    stderr = Lossy(os.fdopen(os.dup(STDERR), "wb", buffering=0), "utf-8", "backslashreplace", write_through=True)
    renderer = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info if as_json else structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    handler = logging.StreamHandler(stderr)
    handler.addFilter(Calm())
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # It logs a traceback for every failed commit, which our own errors already tell.
    logging.getLogger("aiokafka.producer.sender").setLevel(logging.CRITICAL)
