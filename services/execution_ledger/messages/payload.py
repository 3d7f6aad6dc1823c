"""A value of any size, known by its digest.

Events carry payloads instead of bare values from the first version on, so that encryption and removal can come
later without breaking any chain: the chain covers the digest, wherever the bytes are.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from .base import Message

PAYLOAD_BYTES_MAX = 60_000  # 0.06 MB of inputs together, and of outputs together (Craft AI's documented limit)
DEPTH_MAX = 64  # levels of lists and objects inside one payload; deeper values break readers that recurse


class Payload(Message):
    """`inline` holds the very JSON text that `sha256` and `size` (bytes) speak of; `object` names a stored object."""

    sha256: str
    size: int
    media_type: str = "application/json"
    key_id: str | None = None
    inline: str | None = None
    object: str | None = None

    def value(self) -> Any:
        """The decoded JSON value; a payload that lives in the object store has none here."""
        return None if self.inline is None else json.loads(self.inline)


def too_deep(value: Any, left: int = DEPTH_MAX) -> bool:
    """Whether lists and objects lie more than `left` levels inside `value`; never recurses further than that."""
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return left < 0 or any(too_deep(child, left - 1) for child in children)


def json_text(value: Any) -> str:
    """Compact JSON. Raises ValueError for NaN and infinities, TypeError for what JSON cannot hold."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def unreadable(payload: Payload | None) -> str | None:
    """What keeps others from reading its text as an object of JSON; None where it can be read, or is not here."""
    return None if payload is None or payload.inline is None else _wrong(payload.inline, dict)


def no_json(payload: Payload) -> str | None:
    """The same of a value that need not be an object."""
    return None if payload.inline is None else _wrong(payload.inline, object)


def _wrong(text: str, wanted: type) -> str | None:
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return f"is no JSON ({error})"
    return None if isinstance(value, wanted) else "is no object of JSON"


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def json_payload(value: Any) -> Payload:
    text = json_text(value)
    raw = text.encode()
    return Payload(sha256=hashlib.sha256(raw).hexdigest(), size=len(raw), inline=text)
