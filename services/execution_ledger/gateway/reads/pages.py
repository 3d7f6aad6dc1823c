"""Pages: an opaque cursor names the last item of a page, and the next page begins behind it.

Nothing is counted and nothing skipped over, so page 1,000 costs what page 1 does. A cursor bears the digest of the list
that it was made for: in another order or with other filters it would name no place, and is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
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
    Query(max_length=2_000, description="`next` of the page before, unchanged, as are `sort` and all filters"),
]

_OF_ANOTHER = "belongs to another list; pass it with the filters and the `sort` of its own, or leave it out"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Cursor:
    """Where a page ends: what it is sorted by, and the id for those that are equal in that."""

    key: datetime | int | str
    id: UUID


def read_cursor(text: str | None, listing: Listing) -> Cursor | None:
    """None: from the beginning. Raises Refused for what `write_cursor` did not make for this very list."""
    key = str if listing.column in TEXTS else datetime if listing.column in TIMES else int
    return Cursor(*read_place(text, listing.digest, key, UUID)) if text else None


def write_cursor(row: Mapping[str, Any], listing: Listing) -> str:
    return write_place(listing.digest, row["sort_key"], row["id"])


def digest_of_list(name: str, *filters: str | None) -> str:
    """What the cursors of a list are bound to that has one order."""
    return hashlib.sha256(repr((name, *filters)).encode()).hexdigest()[:12]


def write_place(digest: str, *place: Any) -> str:
    """The cursor of the page behind it."""
    written = json.dumps([digest, *map(_written, place)], ensure_ascii=False)
    return base64.urlsafe_b64encode(written.encode()).decode().rstrip("=")


def read_place(text: str | None, digest: str, *kinds: type) -> Sequence[Any]:
    """One of each kind; all None where nothing is said. Raises Refused for what was not made for this very list."""
    if not text:
        return [None] * len(kinds)
    try:
        made_for, *written = json.loads(base64.urlsafe_b64decode(text.encode() + b"=="))
        if made_for != digest:
            raise _refused(_OF_ANOTHER)
        return [_READ[kind](each) for kind, each in zip(kinds, written, strict=True)]
    except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error) as error:
        raise _refused("is not a cursor; pass the `next` of a page, unchanged, or leave it out") from error


def _written(value: Any) -> int | str:
    if isinstance(value, datetime):
        return (value - _EPOCH) // _MICROSECOND
    return value if isinstance(value, int) else str(value)


def _moment(written: Any) -> datetime:
    return _EPOCH + _number(written) * _MICROSECOND


def _number(written: Any) -> int:
    if type(written) is not int or not -(2**63) <= written < 2**63:
        raise ValueError("no number in the views is like this")
    return written


def _text(written: Any) -> str:
    """Half a surrogate pair and a zero are what the views cannot hold."""
    if not isinstance(written, str) or "\x00" in written:
        raise ValueError("no text in the views is like this")
    written.encode()
    return written


def _id(written: Any) -> UUID:
    return UUID(_text(written))


_READ: Mapping[type, Callable[[Any], Any]] = {datetime: _moment, int: _number, str: _text, UUID: _id}


def _refused(detail: str) -> Refused:
    return invalid(FieldError("cursor", detail))
