"""What every view store must do, said once and run against each of them: the rows of the catalog."""

from __future__ import annotations

from contract.events_builder import ACTOR, History
from contract.store_case import StoreCase, at_ms, project
from execution_ledger.messages.events import TemplateRegistered, TwinRegistered, TwinRemoved
from execution_ledger.messages.payload import json_payload
from execution_ledger.projector.store import ViewStore


class CatalogContract(StoreCase):
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
