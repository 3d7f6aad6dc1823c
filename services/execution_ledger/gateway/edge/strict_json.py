"""JSON as this API takes it: UTF-8, no NaN, no key twice, nothing that only a few parsers can hold.

Two parsers that disagree about a document are how a checked body becomes another one behind the check.
"""

from __future__ import annotations

import json
import math
from typing import Any

DIGITS_MAX = 4_000  # of one integer; Python itself stops a little above that
KEYS_MAX = 10_000  # of one object: each could be an error to report


class NotStrict(ValueError):
    """The text is JSON to some parsers only."""


def parse(raw: bytes) -> Any:
    """Raises ValueError with what is wrong, in words."""
    try:
        text = raw.decode()
        return json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_finite, parse_int=_integer
        )
    except RecursionError as error:
        raise NotStrict("it is nested too deeply") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > KEYS_MAX:
        raise NotStrict(f"one object has {len(pairs):,} keys, more than {KEYS_MAX:,}")
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise NotStrict(f"the key {twice!r} occurs twice in one object")
    return made


def _constant(text: str) -> float:
    raise NotStrict(f"{text} is not JSON")


def _integer(text: str) -> int:
    if len(text) > DIGITS_MAX:
        raise NotStrict(f"a number has {len(text):,} digits, more than {DIGITS_MAX:,}")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise NotStrict(f"{text} is too large for a number")
    return number
