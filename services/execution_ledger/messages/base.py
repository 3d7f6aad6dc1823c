"""What all messages share: frozen models that refuse unknown fields, and the project's time type."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

TIME_MS_MAX = 253_402_300_799_999  # the end of the year 9999, the last that RFC 3339 can say


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


def _clamped(value: Any) -> Any:
    """A reporter's clock may be anywhere; its report still counts."""
    time_ms = _time_ms(value)
    return min(max(time_ms, 0), TIME_MS_MAX) if isinstance(time_ms, int) else time_ms


_ON_THE_WIRE = (
    PlainSerializer(rfc3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
)

# Milliseconds since 1970 in Python, RFC 3339 on the wire.
Time = Annotated[int, Field(ge=0, le=TIME_MS_MAX), BeforeValidator(_time_ms), *_ON_THE_WIRE]
ReportedTime = Annotated[int, BeforeValidator(_clamped), *_ON_THE_WIRE]
