"""What every view store must do, said once and run against each of them: the rows of the catalog and of batches."""

from __future__ import annotations

import pytest

from contract.events_builder import ACTOR, History
from contract.store_case import StoreCase, at_ms, project
from execution_ledger.errors import BrokenHistory
from execution_ledger.messages.events import (
    BatchOpened,
    PipelineRegistered,
    TemplateRegistered,
    TwinRegistered,
    TwinRemoved,
)
from execution_ledger.messages.parts import Link
from execution_ledger.messages.payload import json_payload
from execution_ledger.projector.store import ViewStore


class CatalogContract(StoreCase):
    async def test_pipelines_and_batches_have_rows(self, store: ViewStore) -> None:
        history = History()
        batch_id = history.new_id()
        definition = json_payload({"name": "train"})
        for version in (1, 2):
            fact = PipelineRegistered(pipeline="train", version=version, digest=f"d{version}", definition=definition)
            history.add("pipeline/train", fact)
        linked = Link(how="retry", to=history.new_id())
        opened = BatchOpened(batch_id=batch_id, count=3, opened=0, versions={}, body_digest="b1", link=linked)
        history.add(f"batch/{batch_id}", opened)
        await project(store, history)
        _, newest = await self.rows(store, "pipelines")
        assert (newest["version"], newest["digest"], newest["definition"]) == (2, "d2", '{"name":"train"}')
        assert (newest["registered_at"], newest["registered_by"]) == (at_ms(2), ACTOR)
        (batch,) = await self.rows(store, "batches")
        assert (batch["id"], batch["count"], batch["opened_at"], batch["actor"]) == (batch_id, 3, at_ms(3), ACTOR)
        assert (batch["shard"], batch["sequence"], batch["body_digest"]) == (1, 3, "b1")
        assert (batch["link"], batch["linked_to"]) == ("retry", linked.to)

    async def test_a_batch_that_is_opened_again_is_refused(self, store: ViewStore) -> None:
        history = History()
        opened = BatchOpened(batch_id=history.new_id(), count=3, opened=0, versions={})
        history.add(f"batch/{opened.batch_id}", opened)
        await project(store, history)
        history.add(f"batch/{opened.batch_id}", opened)
        with pytest.raises(BrokenHistory):
            await project(store, history)

    async def test_each_version_of_an_entry_has_a_row_and_its_removal_too(self, store: ViewStore) -> None:
        history = History()
        definition = json_payload({"name": "Pump \0 7", "template": "pump"})
        registered = TwinRegistered(key="pump-7", version=1, digest="d1", definition=definition)
        history.add("twin/pump-7", registered, TwinRemoved(key="pump-7", version=2))
        template = TemplateRegistered(key="pump-7", version=1, digest="d2", definition=json_payload({}))
        history.add("template/pump-7", template)
        await project(store, history)
        rows = {(row["noun"], row["version"]): row for row in await self.rows(store, "entries")}
        assert rows.keys() == {("twin", 1), ("twin", 2), ("template", 1)}
        first, removed = rows["twin", 1], rows["twin", 2]
        assert (first["key"], first["digest"], first["definition"]) == ("pump-7", "d1", definition.inline)
        assert (removed["digest"], removed["definition"], removed["registered_by"]) == (None, None, ACTOR)
        assert (first["registered_at"], removed["registered_at"]) == (at_ms(1), at_ms(2))
