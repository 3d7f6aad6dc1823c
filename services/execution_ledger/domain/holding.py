"""Holding back what waits, until somebody releases it. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from execution_ledger.messages import events
from execution_ledger.messages.commands import Hold, Unhold
from execution_ledger.messages.events import Fact
from execution_ledger.messages.parts import Refusal

from .retrying import after
from .states import Ended, Queued, State

if TYPE_CHECKING:
    from .execution import Execution


def hold(execution: Execution, command: Hold) -> list[Fact] | Refusal:
    state = execution.state
    if not isinstance(state, Queued):
        return _not_waiting(state)
    if state.held:
        return Refusal(code="already_held", detail="It is held already. Release it when it may run.")
    return [events.Held(body_digest=command.body_digest, keyed=command.keyed)]


def unhold(execution: Execution, command: Unhold, now_ms: int) -> list[Fact] | Refusal:
    """Its time in the queue did not run while it was held, and begins anew."""
    state = execution.state
    if not isinstance(state, Queued):
        return _not_waiting(state)
    if not state.held:
        return Refusal(code="not_held", detail="It is not held, so there is nothing to release.")
    expires_at = after(max(now_ms, state.not_before or 0), execution.policy.queue_ttl_ms)
    return [events.Unheld(expires_at=expires_at, body_digest=command.body_digest, keyed=command.keyed)]


def held_or_not(state: State, fact: events.Held | events.Unheld) -> State:
    if not isinstance(state, Queued):
        raise ValueError(f"{fact.TYPE} of an execution that does not wait")
    if isinstance(fact, events.Held):
        return replace(state, held=True, expires_at=None)
    return replace(state, held=False, expires_at=fact.expires_at)


def _not_waiting(state: State) -> Refusal:
    if isinstance(state, Ended):
        return Refusal(code="already_ended", detail=f"It is already {state.word}.")
    return Refusal(code="not_waiting", detail=f"Only what waits can be held and released, and it is {state.word}.")
