"""Durations as people write them: seconds as a number, "90s", "10m", "2h", and in code a timedelta, too."""

from __future__ import annotations

import re
from datetime import timedelta

from execution_ledger.errors import BadRequest

Duration = float | str | timedelta

_UNITS_MS = {"ms": 1, "": 1_000, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)")


def duration_ms(value: Duration) -> int:
    """Raises BadRequest for what is no duration."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    found = _DURATION.fullmatch(str(value).strip())
    if found is None or isinstance(value, bool):
        raise BadRequest(f"{value!r} is no duration. Write seconds as a number, or '90s', '10m', '2h', '1d', '250ms'.")
    return round(float(found[1]) * _UNITS_MS[found[2]])
