"""Payloads: each is the text that its digest and size speak of, or names an object. A part of promise 11."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import get_args, get_type_hints

from execution_ledger.messages.events import FACTS, Fact, Queued
from execution_ledger.messages.payload import Payload


def _names_of_payloads(fact: type[Fact]) -> tuple[str, ...]:
    hints = get_type_hints(fact)
    return tuple(name for name in fact.model_fields if Payload in (hints[name], *get_args(hints[name])))


HOLDS: dict[type[Fact], tuple[str, ...]] = {fact: names for fact in FACTS if (names := _names_of_payloads(fact))}


def payloads_of(fact: Fact) -> list[Payload]:
    return [payload for name in HOLDS.get(type(fact), ()) if (payload := getattr(fact, name)) is not None]


def wrong_payload(fact: Fact) -> str | None:
    """The first that is not what it says, in words."""
    for name in HOLDS.get(type(fact), ()):
        payload = getattr(fact, name)
        if payload is not None and (wrong := _wrong(payload)):
            return f"its {name} {wrong}"
    if isinstance(fact, Queued) and fact.reused:
        return next(_wrong_reused(fact), None)
    return None


def _wrong_reused(fact: Queued) -> Iterator[str]:
    for step, reused in (fact.reused or {}).items():
        if wrong := _wrong(reused.outputs):
            yield f"what it reuses of step {step!r} {wrong}"


def _wrong(payload: Payload) -> str | None:
    if payload.inline is None:
        return None if payload.object is not None else "have no text, and name no object"
    raw = payload.inline.encode()
    if hashlib.sha256(raw).hexdigest() != payload.sha256:
        return "are not those that their digest was made of"
    return None if len(raw) == payload.size else f"have {len(raw)} bytes, and say {payload.size}"
