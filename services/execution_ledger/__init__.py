"""Execution Ledger: pipelines, and an event-sourced record of everything that happens to their executions.

The names below load on first use, so that a service or a command does not pay for what it never needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import BadRequest, LedgerError, OutcomeUnknown, StillRunning, Unavailable
    from .sdk.attempt.context import Context, NoRetry
    from .sdk.client.client import Client
    from .sdk.client.ending import ExecutionAborted, ExecutionFailed
    from .sdk.file import File
    from .sdk.pipelines.pipeline import Pipeline, pipeline

__all__ = [
    "BadRequest",
    "Client",
    "Context",
    "ExecutionAborted",
    "ExecutionFailed",
    "File",
    "LedgerError",
    "NoRetry",
    "OutcomeUnknown",
    "Pipeline",
    "StillRunning",
    "Unavailable",
    "pipeline",
]

_HOMES = {
    "BadRequest": "errors",
    "LedgerError": "errors",
    "OutcomeUnknown": "errors",
    "StillRunning": "errors",
    "Unavailable": "errors",
    "Client": "sdk.client.client",
    "Context": "sdk.attempt.context",
    "ExecutionAborted": "sdk.client.ending",
    "ExecutionFailed": "sdk.client.ending",
    "File": "sdk.file",
    "NoRetry": "sdk.attempt.context",
    "Pipeline": "sdk.pipelines.pipeline",
    "pipeline": "sdk.pipelines.pipeline",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
