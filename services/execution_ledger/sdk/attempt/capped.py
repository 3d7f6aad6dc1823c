"""Text of any length, cut to what a message holds."""

from __future__ import annotations


def cap(text: str, chars_max: int) -> str:
    """Its beginning; what UTF-8 cannot hold is replaced."""
    text = _writable(text[: chars_max + 1])
    return text if len(text) <= chars_max else text[: chars_max - 1] + "…"


def cap_start(text: str, chars_max: int) -> str:
    """Its end, where a traceback says what happened; what UTF-8 cannot hold is replaced."""
    text = _writable(text[-chars_max - 1 :])
    return text if len(text) <= chars_max else "…" + text[1 - chars_max :]


def _writable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
