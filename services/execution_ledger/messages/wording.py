"""What is wrong with a value, in words for people: pydantic's own speak of Python's types and of patterns. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from .definition import PortName
from .files import FileName
from .ids import Key, PipelineName
from .parts import BusinessId, LabelKey, Text

# How they begin, and what is said in its place; the first that fits counts.
_BEGINNINGS = {
    "Input should be a valid dictionary": "must be an object",
    "Input should be a valid list": "must be a list",
    "Input should be a valid integer": "must be a whole number",
    "Input should be a valid UUID": "must be an id, like 01a22337-eed4-7002-b5a1-83698a1d35cd",
    "Input should be a valid": "must be a",
    "Input should be": "must be",
    "String should have": "must have",
    "Value error, ": "",
}
_WHOLE = ("must be an object", "must be a whole number", "must be an id")  # nothing more to say behind these


def worded(problem: Mapping[str, Any]) -> str:
    """One of the `errors()` of a ValidationError."""
    context = problem.get("ctx", {})
    match problem["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return "is nothing that this call knows"
        case "string_pattern_mismatch":
            return _PATTERNS.get(context["pattern"], f"must match {context['pattern']}")
        case "too_long":
            return f"must have at most {context['max_length']:,} entries"
        case "too_short":
            return f"must have at least {context['min_length']:,}, and has none"
        case _:
            return _begun(problem["msg"])


def _begun(message: str) -> str:
    for theirs, ours in _BEGINNINGS.items():
        if message.startswith(theirs):
            return ours if ours.startswith(_WHOLE) else ours + message.removeprefix(theirs)
    return message


def _pattern_of(text: Any) -> str:
    """Of an annotated `str`, whichever way it says it."""
    said = get_args(text)[1]
    patterns = (getattr(each, "pattern", None) for each in (said, *getattr(said, "metadata", ())))
    return next(str(pattern) for pattern in patterns if pattern)


_LETTERS = "letters from a to z, digits"
_PATTERNS = {
    _pattern_of(Key): f"must be 1 to 100 {_LETTERS}, _ . and -, the first a letter or digit",
    _pattern_of(PipelineName): f"must be 1 to 100 {_LETTERS}, _ . and -, the first a letter",
    _pattern_of(PortName): f"must be 1 to 63 {_LETTERS} and _, the first no digit",
    _pattern_of(LabelKey): f"must be 1 to 63 {_LETTERS}, _ . / and -, the first a letter or digit",
    _pattern_of(FileName): "must be the name of a file: not empty, no folder, no control characters",
    _pattern_of(Text): "must be one line without control characters",
    _pattern_of(BusinessId): "must be one line without control characters",
}
