"""What code measures, as numbers that the ledger can keep."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from execution_ledger.messages.metrics import VALUES_MAX

LIST_MAX = 100_000  # numbers in one call


def parts_of(name: str, value: Any) -> list[dict[str, Any]]:
    """The fields of what to record: one value, or a list in pieces. Raises TypeError or ValueError, saying why."""
    if hasattr(value, "tolist"):  # numbers and arrays of NumPy, series of pandas
        value = value.tolist()
    if isinstance(value, str | bytes | dict) or not isinstance(value, Iterable):
        return [{"name": name, "value": _number(name, value)}]
    values = [_number(name, each) for each in value]
    if not 0 < len(values) <= LIST_MAX:
        raise ValueError(f"The metric {name!r} has {len(values):,} values: give 1 to {LIST_MAX:,} at a time.")
    return [{"name": name, "values": values[at : at + VALUES_MAX]} for at in range(0, len(values), VALUES_MAX)]


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool | str | bytes):
        raise TypeError(f"The metric {name!r} is a {type(value).__name__}, not a number: {value!r:.50}.")
    try:
        number = float(value)
    except OverflowError as error:
        raise ValueError(f"The metric {name!r} is too large for a number.") from error
    except (TypeError, ValueError) as error:
        raise TypeError(f"The metric {name!r} is a {type(value).__name__}, not a number.") from error
    if not math.isfinite(number):
        raise ValueError(f"The metric {name!r} is {number}, which is no number that can be compared. Leave it out.")
    return number
