"""Pages: an opaque cursor names the last item of a page, and the next page begins behind it.

Nothing is counted and nothing skipped over, so page 1,000 costs what page 1 does.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query

from .problems import FieldError, Refused, invalid
from .views import Cursor

Limit = Annotated[int, Query(ge=1, le=500)]
PageCursor = Annotated[str | None, Query(max_length=200, description="`next` of the page before, unchanged")]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TOP = Cursor(datetime(9999, 1, 1, tzinfo=UTC), str(UUID(int=(1 << 128) - 1)))


def read_cursor(text: str | None) -> Cursor:
    """Raises Refused for what `write_cursor` cannot have made."""
    if text is None:
        return _TOP
    try:
        micros, _, last = base64.urlsafe_b64decode(text.encode() + b"==").decode().partition(".")
        return Cursor(_EPOCH + int(micros) * _MICROSECOND, str(UUID(last)))
    except (ValueError, OverflowError, binascii.Error) as error:
        raise _not_a_cursor() from error


def write_cursor(row: Mapping[str, Any]) -> str:
    micros = (row["created_at"] - _EPOCH) // _MICROSECOND
    return base64.urlsafe_b64encode(f"{micros}.{row['id']}".encode()).decode().rstrip("=")


def _not_a_cursor() -> Refused:
    return invalid(FieldError("cursor", "is not a cursor; pass the `next` of a page, unchanged"))
