"""What every view store must keep of what code says while it runs, said once and run against each of them."""

from __future__ import annotations

import json

from contract.events_builder import History
from contract.store_case import COMPLETED, DISPATCHED, LOADED, STARTED, STEPS, StoreCase, at_ms, project
from execution_ledger.messages.events import StepChanged, Warned
from execution_ledger.messages.payload import json_payload
from execution_ledger.messages.steps import CodeOrigin
from execution_ledger.projector.store import ViewStore


class RecordedContract(StoreCase):
    """A subclass brings the fixture `store`."""

    async def test_a_step_is_a_row_of_its_attempt_that_its_events_make(self, store: ViewStore) -> None:
        history = History()
        execution = history.queue(steps=STEPS)
        history.add(execution, DISPATCHED, STARTED)
        for fact in LOADED:
            history.add(execution, fact)
            await project(store, history)
        assert json.loads((await self.execution(store, execution))["steps"]) == STEPS
        (row,) = await self.rows(store, "steps")
        assert (row["attempt"], row["step"], row["status"], row["tries"]) == (1, "load", "completed", 2)
        assert (row["started_at"], row["ended_at"], row["sequence"]) == (at_ms(4), at_ms(6), 6)
        assert json.loads(row["failure"]) == {"kind": "user", "message": "busy"}
        assert (json.loads(row["origin"]), row["reused"]) == ({"kind": "local"}, None)

    async def test_an_attempt_keeps_where_its_code_came_from_to_its_end(self, store: ViewStore) -> None:
        history = History()
        execution = history.queue()
        origin = CodeOrigin(kind="git_repository", commit="5f2d")
        for fact in (DISPATCHED, STARTED.model_copy(update={"origin": origin}), COMPLETED):
            history.add(execution, fact)
            await project(store, history)
        (row,) = await self.rows(store, "attempts")
        assert (row["status"], json.loads(row["origin"])) == ("completed", {"kind": "git_repository", "commit": "5f2d"})

    async def test_what_was_reused_names_its_execution(self, store: ViewStore) -> None:
        history = History()
        execution = history.queue(steps=STEPS)
        outputs = json_payload({"rows": 3})
        reused = StepChanged(attempt=1, ordinal=2, step="load", status="completed", outputs=outputs, reused=execution)
        history.add(execution, DISPATCHED, STARTED, reused)
        await project(store, history)
        (row,) = await self.rows(store, "steps")
        assert (row["status"], row["tries"], row["reused"], row["started_at"]) == ("completed", 0, execution, None)

    async def test_warnings_are_kept_in_order(self, store: ViewStore) -> None:
        history = History()
        execution = history.queue()
        history.add(execution, DISPATCHED, STARTED, Warned(attempt=1, ordinal=2, message="one"))
        await project(store, history)
        history.add(
            execution, Warned(attempt=1, ordinal=2, message="two"), Warned(attempt=1, ordinal=2, message='"three"')
        )
        await project(store, history)
        warnings = [json.loads(row["warning"]) for row in await self.rows(store, "warnings")]
        assert [warning["message"] for warning in warnings] == ["one", "two", '"three"']
        assert warnings[0] == {"time": "2026-09-21T14:13:20.004Z", "attempt": 1, "message": "one"}
