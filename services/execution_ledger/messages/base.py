"""What all messages share: frozen models that refuse unknown fields, and the project's time type."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema


class Message(BaseModel):
    """Frozen, and closed: a field this code does not know is an error, because a ledger must not lose meaning."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


@lru_cache(maxsize=1024)
def _to_the_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def rfc3339(time_ms: int) -> str:
    """`2026-11-22T04:58:18.123Z`: always UTC, always three digits."""
    return f"{_to_the_second(time_ms // 1000)}.{time_ms % 1000:03d}Z"


def _time_ms(value: Any) -> Any:
    if isinstance(value, str):
        return round(datetime.fromisoformat(value).timestamp() * 1000)
    return value


# Milliseconds since 1970 in Python, RFC 3339 on the wire.
Time = Annotated[
    int,
    BeforeValidator(_time_ms),
    PlainSerializer(rfc3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
