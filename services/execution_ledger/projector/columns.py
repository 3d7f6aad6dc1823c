"""How values of events become values of columns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from execution_ledger.messages.payload import Payload

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=1024)
def moment(time_ms: int) -> datetime:
    """Exact, which a division by 1000 would not be."""
    return _EPOCH + timedelta(milliseconds=time_ms)


def storable(text: str | None) -> str | None:
    """Postgres holds every character but U+0000; the event's own bytes in the journal keep that one too."""
    return None if text is None else text.replace("\x00", "\ufffd")


def inline(payload: Payload | None) -> str | None:
    return None if payload is None else storable(payload.inline)
