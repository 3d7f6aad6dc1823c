"""JSON as this API takes it: no NaN, no key twice.

Two parsers that disagree about a document are how a checked body becomes another one behind the check.
"""

from __future__ import annotations

import json
import math
from typing import Any


class NotStrict(ValueError):
    """The text is JSON to some parsers only."""


def parse(raw: bytes) -> Any:
    """Raises ValueError with what is wrong, in words."""
    try:
        return json.loads(raw, object_pairs_hook=_object, parse_constant=_constant, parse_float=_finite)
    except RecursionError as error:
        raise NotStrict("it is nested too deeply") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise NotStrict(f"the key {twice!r} occurs twice in one object")
    return made


def _constant(text: str) -> float:
    raise NotStrict(f"{text} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise NotStrict(f"{text} is too large for a number")
    return number
