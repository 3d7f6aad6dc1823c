"""Lines: what the code of an attempt prints and logs. The same bytes in the topic `logs`, in the object that keeps them
and in what followers get: one JSON document per line.

They are no part of an execution's history: losing one changes nothing.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .base import Message, Time
from .parts import Count, Text

TEXT_CHARS_MAX = 8_000
LOG_KIND, LOG_MEDIA_TYPE = "log", "application/x-ndjson"  # of the artifact that keeps an attempt's lines


Stream = Literal["stdout", "stderr", "logging", "structlog", "cut"]


class LogLine(Message):
    """`ordinal` counts all lines of an attempt, from 1, so that readers see where some are missing.

    Of the stream `cut` is a mark in the place of lines that were not kept; its ordinal is that of the last of them.
    """

    attempt: Count
    ordinal: Count
    time: Time
    stream: Stream
    level: Annotated[str, StringConstraints(max_length=64)] | None = None
    step: Text | None = None
    text: Annotated[str, Field(max_length=TEXT_CHARS_MAX)]


def log_name(attempt: int) -> str:
    """What the artifact that keeps an attempt's lines is called."""
    return f"attempt-{attempt}"
