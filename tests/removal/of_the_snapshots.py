"""Defences of the snapshots, taken out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from execution_ledger.log.protocol import Log
from execution_ledger.snapshots import keeping
from execution_ledger.snapshots.form import Mark, Snapshot, Unusable, _Reading
from removal.instead import instead


@contextmanager
def digest_of_a_snapshot() -> Iterator[None]:
    """Whatever can be read as one is one."""
    real = _Reading.whole

    def whole(self: _Reading[Any]) -> Snapshot[Any]:
        self._is_whole = self._head is not None
        try:
            return real(self)
        except Exception as error:
            raise Unusable(str(error)) from error

    with instead(_Reading, "whole", whole):
        yield


@contextmanager
def marks_in_the_log() -> Iterator[None]:
    """It is used whatever the log holds at its marks."""

    async def check_marks(log: Log, marks: Sequence[Mark]) -> None:
        pass

    with instead(keeping, "_check_marks", check_marks):
        yield
