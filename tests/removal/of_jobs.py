"""Defences of what is asked of many, or held back, taken out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from execution_ledger.domain import execution as domain
from execution_ledger.domain.execution import Circumstances, Decision, Execution
from execution_ledger.domain.states import Queued
from execution_ledger.gateway.writes.again import check_over
from execution_ledger.gateway.writes.jobs import Job, Target
from execution_ledger.ledger.shard import ShardState
from execution_ledger.messages.commands import Dispatch
from execution_ledger.trials.simulate import callers
from removal.instead import instead


@contextmanager
def held_is_not_dispatched() -> Iterator[None]:
    """A Dispatch that was asked for before the hold was read is granted."""
    real = domain._dispatch

    def dispatch(execution: Execution, command: Dispatch, given: Circumstances) -> Decision:
        state = execution.state
        released = replace(execution, state=replace(state, held=False)) if isinstance(state, Queued) else execution
        return real(released, command, given)

    with patch.object(domain, "_dispatch", dispatch):
        yield


def one_of_a_business_id() -> AbstractContextManager[object]:
    """A ledger does not look whether another one is live."""

    def nobody(self: ShardState, business: str | None, execution_id: str) -> None:
        return None

    return patch.object(ShardState, "ahead", nobody)


def whole_before_its_retry() -> AbstractContextManager[object]:
    """A batch is retried also where some of its executions may yet come to be."""

    def check(batch_id: str, row: Mapping[str, Any] | None) -> Mapping[str, Any]:
        return check_over(batch_id, row and {**row, "undecided": 0})

    return instead(callers, "check_over", check)


def job_commands_by_target() -> AbstractContextManager[object]:
    """Whatever a job asks bears a fresh id."""
    numbers = itertools.count(1)

    def command_id(self: Job, target: Target) -> str:
        return f"{next(numbers):032x}"

    return patch.object(Job, "command_id", command_id)
