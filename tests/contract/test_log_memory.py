"""The log in memory keeps the contract, in a time that the test makes up."""

from __future__ import annotations

from itertools import count

import pytest

from contract.log_contract import SHARDS, LogContract
from execution_ledger.log.memory import MemoryLog
from execution_ledger.log.protocol import Lane, Log, Outgoing


class TestMemoryLog(LogContract):
    @pytest.fixture
    def log(self) -> Log:
        return MemoryLog(SHARDS, now_ms=count(1_000).__next__)

    async def write_bare(self, log: Log, lane: Lane, key: bytes | None, value: bytes | None) -> None:
        assert isinstance(log, MemoryLog)
        log.partition(lane).write(lane, [Outgoing(key, value)], 1_000)  # type: ignore[arg-type]
        log.partition(lane).settle()

    async def forget(self, log: Log, lane: Lane, before: int) -> None:
        assert isinstance(log, MemoryLog)
        log.forget(lane, before)
