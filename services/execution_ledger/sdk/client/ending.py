"""How an execution that was waited for has ended: quietly if it has completed, else as an error that tells why."""

from __future__ import annotations

from typing import Self

from ...errors import EndedBadly, StillRunning
from ..records.records import Execution
from .waiting import ENDED


class _Ended(EndedBadly):
    """Of its record alone, as pickle needs to know to make it anew in another process."""

    execution: Execution

    def __reduce__(self) -> tuple[type[Self], tuple[Execution]]:
        return type(self), (self.execution,)


class ExecutionFailed(_Ended):
    """`execution` is its record; its `failure` holds kind, message and traceback."""

    def __init__(self, execution: Execution) -> None:
        failure = execution.failure
        why = f"{failure.kind}: {failure.message}" if failure else "it does not say why"
        traceback = f"\n{failure.traceback}" if failure and failure.traceback else ""
        super().__init__(
            f"{execution.name} has failed ({why}). Its history: exledger events {execution.name}{traceback}"
        )
        self.execution = execution


class ExecutionAborted(_Ended):
    """`execution` is its record; its `abort` says who asked for it, and why."""

    def __init__(self, execution: Execution) -> None:
        abort = execution.abort
        by = f" by {abort.requested_by}" if abort and abort.requested_by else ""
        why = f": {abort.reason}" if abort and abort.reason else "."
        super().__init__(f"{execution.name} was aborted{by}{why}")
        self.execution = execution


def ended(execution: Execution, *, check: bool) -> Execution:
    """Raises StillRunning; with `check`, ExecutionFailed and ExecutionAborted, too."""
    if execution.status not in ENDED:
        name = execution.name
        raise StillRunning(f"{name} is {execution.status}. Wait again, or see why: exledger explain {name}")
    if check and execution.status == "failed":
        raise ExecutionFailed(execution)
    if check and execution.status == "aborted":
        raise ExecutionAborted(execution)
    return execution
