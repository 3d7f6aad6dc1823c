"""Values from the command line: `name=value`, read by the type that the pipeline declares. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ...errors import BadRequest


def parse_inputs(pairs: Iterable[str], types: Mapping[str, str], option: str = "-i") -> dict[str, Any]:
    """`types` are the declared ones by input name; an unknown name is left for the ledger to refuse."""
    return {name: parse_value(text, types.get(name)) for name, text in split_pairs(pairs, f"{option} name=value")}


def parse_labels(pairs: Iterable[str]) -> dict[str, str]:
    return dict(split_pairs(pairs, "--label key=value"))


def parse_label_change(pairs: Iterable[str]) -> dict[str, str | None]:
    """`key=` takes the label away."""
    return {key: value or None for key, value in split_pairs(pairs, "key=value, or key= to take it away")}


def split_pairs(pairs: Iterable[str], example: str) -> list[tuple[str, str]]:
    """Raises BadRequest for what has no name, and for a name that comes twice."""
    split: dict[str, str] = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not (name and sign):
            raise BadRequest(f"{pair!r} is not a pair. Write {example}.")
        if name in split:
            raise BadRequest(f"{name!r} is given twice. Give it once.")
        split[name] = value
    return list(split.items())


def parse_value(text: str, port_type: str | None) -> Any:
    """JSON where it is JSON, else the text itself; a string is always the text, a file a path.

    Raises BadRequest for JSON that no ledger takes.
    """
    if port_type == "string":
        return text
    if port_type == "file" and not text.startswith("{"):
        return Path(text)
    try:
        return read_json(text)
    except ValueError:
        return text


def read_json(text: str) -> Any:
    """Raises ValueError for what is no JSON, and BadRequest for JSON that no ledger takes."""
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError as error:
        raise BadRequest(f"{text[:20]}… is nested too deeply.") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Python would keep the last of two without a word."""
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise BadRequest(f"The key {name!r} occurs twice in one object. Give it once.")
        made[name] = value
    return made


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise BadRequest(f"{text} is too large for a number.")
    return number


def _no_constant(name: str) -> Any:
    """NaN and the infinities are not JSON, though Python reads them."""
    raise ValueError(name)
