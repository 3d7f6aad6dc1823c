"""Pages: an opaque cursor names the last item of a page, and the next page begins behind it.

Nothing is counted and nothing skipped over, so page 1,000 costs what page 1 does. A cursor bears the digest of the list
that it was made for: in another order or with other filters it would name no place, and is refused.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query

from ..edge.problems import FieldError, Refused, invalid
from .finding import TEXTS, TIMES, Listing

Limit = Annotated[int, Query(ge=1, le=500)]
PageCursor = Annotated[
    str | None,
    Query(max_length=1_600, description="`next` of the page before, unchanged, as are `sort` and all filters"),
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Cursor:
    """Where a page ends: what it is sorted by, and the id for those that are equal in that."""

    key: datetime | int | str
    id: UUID


def read_cursor(text: str | None, listing: Listing) -> Cursor | None:
    """None: from the beginning. Raises Refused for what `write_cursor` did not make for this very list."""
    if text is None:
        return None
    try:
        digest, last, written = base64.urlsafe_b64decode(text.encode() + b"==").decode().split(".", 2)
        cursor = Cursor(_read_key(written, listing.column), UUID(last))
    except (ValueError, OverflowError, binascii.Error) as error:
        raise _refused("is not a cursor; pass the `next` of a page, unchanged") from error
    if digest != listing.digest:
        raise _refused("belongs to another list; pass it with the `sort` and the filters of its own, or leave it out")
    return cursor


def write_cursor(row: Mapping[str, Any], listing: Listing) -> str:
    key = row["sort_key"]
    number = (key - _EPOCH) // _MICROSECOND if isinstance(key, datetime) else key
    return base64.urlsafe_b64encode(f"{listing.digest}.{row['id']}.{number}".encode()).decode().rstrip("=")


def _read_key(written: str, column: str) -> datetime | int | str:
    if column in TEXTS:
        if "\x00" in written:
            raise ValueError("no text in the views holds a zero")
        return written
    number = int(written)
    return _EPOCH + number * _MICROSECOND if column in TIMES else number


def _refused(detail: str) -> Refused:
    return invalid(FieldError("cursor", detail))
