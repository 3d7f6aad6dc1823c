"""The view store in memory keeps the contract."""

from __future__ import annotations

from typing import Any

import pytest

from contract.store_case import Row
from contract.store_catalog_contract import CatalogContract
from contract.store_contract import StoreContract
from contract.store_jobs_contract import JobsContract
from contract.store_recorded_contract import RecordedContract
from contract.store_rows_contract import RowsContract
from execution_ledger.projector.memory import MemoryStore


class TestMemoryStore(RecordedContract, StoreContract, RowsContract, CatalogContract, JobsContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()

    async def rows(self, store: MemoryStore, table: str) -> list[Row]:
        rows = getattr(store, table)
        if table == "positions":
            return [{"shard": shard, **position._asdict()} for shard, position in sorted(rows.items())]
        return [row for _, row in sorted(rows.items())]

    async def announced(self, store: MemoryStore, work: Any) -> list[tuple[int, int]]:
        heard: list[tuple[int, int]] = []
        store.on_moved.append(lambda shard, sequence: heard.append((shard, sequence)))
        await work
        return heard
