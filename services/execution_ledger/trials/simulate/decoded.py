"""Events that several checks of a run look at, decoded once."""

from __future__ import annotations

from functools import lru_cache

from execution_ledger.messages.events import decode_event

EVENTS_MAX = 2_000  # more than most runs have

decoded = lru_cache(EVENTS_MAX)(decode_event)
