"""What every view store must do, said once and run against each of them: the rows that events leave."""

from __future__ import annotations

import json
from typing import Any

import pytest

from contract.events_builder import ACTOR, BEGIN_MS, History
from contract.store_case import (
    COMPLETED,
    DISPATCHED,
    STARTED,
    StoreCase,
    add_a_life_of_everything,
    at_ms,
    comparable,
    project,
    shard_of_row,
)
from execution_ledger.messages.events import (
    Aborted,
    AbortRequested,
    Checkpointed,
    CommandRejected,
    CommandRepeated,
    Dispatched,
    Failed,
    Quarantined,
    Requeued,
    Started,
    Warned,
)
from execution_ledger.messages.parts import Failure, Link, Origin, Outcome, Policy, Refusal
from execution_ledger.messages.payload import json_payload
from execution_ledger.projector.rows import fold
from execution_ledger.projector.store import ViewStore


class RowsContract(StoreCase):
    """A subclass brings the fixture `store`."""

    async def test_one_batch_or_many_make_the_same_rows(self, store: ViewStore) -> None:
        """Shard 2 gets the events of shard 1 one by one, and only shard, ids and numbers may differ."""
        whole, pieces = History(1), History(2)
        add_a_life_of_everything(whole)
        add_a_life_of_everything(pieces)
        await project(store, whole)
        for recorded in pieces.take():
            at = await store.position(2)
            await store.apply(at, fold(2, at, [recorded], recorded.offset + 1))
        for table in ("executions", "live_executions", "attempts", "steps"):
            rows = await self.rows(store, table)
            ones, twos = ([comparable(row) for row in rows if shard_of_row(row) == shard] for shard in (1, 2))
            assert len(ones) > 2
            assert ones == twos

    async def test_a_queued_execution_has_all_that_its_caller_said(self, store: ViewStore) -> None:
        history = History()
        batch_id = history.new_id()
        execution = history.queue(
            twin="pump-7",
            template="pump",
            experiment="winter",
            labels={"team": "blue", "tricky": 'a"b\\c,{d}'},
            origin=Origin(source=f"batch/{batch_id}", ordinal=4),
            properties=json_payload({"colour": "red"}),
            priority=7,
            reason="nightly",
            body_digest="b1",
            link=Link(how="rerun", to=batch_id),
        )
        await project(store, history)
        row = await self.execution(store, execution)
        assert (row["twin"], row["priority"], row["reason"], row["body_digest"]) == ("pump-7", 7, "nightly", "b1")
        assert (row["template"], row["experiment"], row["source"]) == ("pump", "winter", f"batch/{batch_id}")
        assert row["labels"] == ["team=blue", 'tricky=a"b\\c,{d}']
        assert (row["batch_id"], row["created_by"], row["shard"]) == (batch_id, ACTOR, 1)
        assert (row["link"], row["linked_to"]) == ("rerun", batch_id)
        assert (row["pipeline"], row["pipeline_version"], row["pipeline_digest"]) == ("train", 3, "d3")
        assert json.loads(row["options"]) == {"train": True, "plot": False, "write": True}
        assert json.loads(row["properties"]) == {"colour": "red"}
        assert (row["status"], row["version"], row["attempt"], row["runner"]) == ("queued", 1, 0, None)
        assert row["created_at"] == row["queued_at"] == row["updated_at"] == at_ms(1)

    async def test_a_life_leaves_its_times_by_the_ledgers_clock(self, store: ViewStore) -> None:
        history = History()
        execution = history.queue()
        await project(store, history)
        for fact in (DISPATCHED, STARTED, COMPLETED):
            history.add(execution, fact)
            await project(store, history)
        row = await self.execution(store, execution)
        times = ("created_at", "dispatched_at", "started_at", "ended_at")
        assert [row[column] for column in times] == [at_ms(1), at_ms(2), at_ms(3), at_ms(4)]
        assert (row["status"], row["outputs"], row["runner"]) == ("completed", '{"out":1}', "runner-1")
        assert (row["version"], row["sequence"]) == (4, 4)

    async def test_only_what_has_not_ended_is_live(self, store: ViewStore) -> None:
        history = History()
        ended, at_once, waiting = history.queue(), history.queue(), history.queue(priority=5)
        history.add(at_once, DISPATCHED, STARTED, COMPLETED)
        history.add(ended, DISPATCHED)
        await project(store, history)
        assert [row["id"] for row in await self.rows(store, "live_executions")] == [ended, waiting]
        history.add(ended, STARTED, COMPLETED)
        await project(store, history)
        (live,) = await self.rows(store, "live_executions")
        assert (live["id"], live["status"], live["priority"], live["runner"]) == (waiting, "queued", 5, None)

    async def test_an_execution_that_is_queued_again_waits_anew(self, store: ViewStore) -> None:
        history = History()
        execution = history.queue()
        history.add(execution, DISPATCHED, STARTED)
        await project(store, history)
        history.add(execution, Requeued(attempt=1, cause="lost"))
        await project(store, history)
        row = await self.execution(store, execution)
        assert (row["status"], row["losses"], row["attempt"], row["queued_at"]) == ("queued", 1, 1, at_ms(4))
        assert (row["runner"], row["dispatched_at"], row["started_at"]) == (None, None, None)
        (live,) = await self.rows(store, "live_executions")
        assert (live["status"], live["runner"], live["queued_at"]) == ("queued", None, at_ms(4))

    async def test_a_second_attempt_stands_beside_the_first(self, store: ViewStore) -> None:
        history = History()
        execution = history.queue()
        history.add(execution, DISPATCHED, STARTED)
        await project(store, history)
        history.add(execution, Requeued(attempt=1, cause="lost"), Dispatched(attempt=2, runner="runner-2", claim=1))
        await project(store, history)
        history.add(execution, Started(attempt=2, runner="runner-2", ordinal=1))
        history.add(execution, Failed(attempt=2, failure=Failure(kind="user", message="no")))
        await project(store, history)
        first, second = await self.rows(store, "attempts")
        assert (first["status"], first["cause"], first["runner"]) == ("requeued", "lost", "runner-1")
        assert (first["dispatched_at"], first["started_at"], first["ended_at"]) == (at_ms(2), at_ms(3), at_ms(4))
        assert (second["status"], second["cause"], second["runner"]) == ("failed", "user", "runner-2")
        assert (second["dispatched_at"], second["started_at"], second["ended_at"]) == (at_ms(5), at_ms(6), at_ms(7))
        row = await self.execution(store, execution)
        assert (row["attempt"], row["runner"], row["started_at"], row["losses"]) == (2, "runner-2", at_ms(6), 1)

    async def test_a_retry_shows_when_it_may_begin_and_why_it_is_one(self, store: ViewStore) -> None:
        history = History()
        policy = Policy(retries=2, timeout_ms=9)
        execution = history.queue(policy=policy)
        history.add(execution, Dispatched(attempt=1, runner="r", claim=1, timeout_at=BEGIN_MS + 11))
        await project(store, history)
        assert (await self.execution(store, execution))["timeout_at"] == at_ms(11)
        failure = Failure(kind="user", message="no\x00luck", traceback="…")
        history.add(execution, Started(attempt=1, runner="r", ordinal=1, timeout_at=BEGIN_MS + 12))
        history.add(execution, Requeued(attempt=1, cause="failed", not_before=BEGIN_MS + 500, failure=failure))
        await project(store, history)
        row = await self.execution(store, execution)
        assert (row["not_before"], row["timeout_at"], row["status"]) == (at_ms(500), None, "queued")
        assert Policy.model_validate_json(row["policy"]) == policy
        (attempt,) = await self.rows(store, "attempts")
        assert (attempt["status"], attempt["cause"], attempt["message"]) == ("requeued", "failed", "no\ufffdluck")
        history.add(execution, Dispatched(attempt=2, runner="r", claim=1), Requeued(attempt=2, cause="lost"))
        await project(store, history)
        assert (await self.execution(store, execution))["not_before"] is None

    async def test_a_deadline_does_not_depend_on_how_events_came_together(self, store: ViewStore) -> None:
        apart, together = History(shard=1), History(shard=2)
        facts = [
            Dispatched(attempt=1, runner="r", claim=1, timeout_at=BEGIN_MS + 9),
            AbortRequested(attempt=1),
            STARTED,
        ]
        one, other = apart.queue(), together.queue()
        for fact in facts:
            apart.add(one, fact)
            await project(store, apart)
        together.add(other, *facts)
        await project(store, together)
        deadlines = {(await self.execution(store, each))["timeout_at"] for each in (one, other)}
        assert deadlines == {at_ms(9)}

    async def test_losses_add_up_over_batches(self, store: ViewStore) -> None:
        history = History()
        execution = history.queue()
        for attempt in (1, 2):
            history.add(execution, Dispatched(attempt=attempt, runner="r", claim=1))
            history.add(execution, Requeued(attempt=attempt, cause="lost"))
            await project(store, history)
        history.add(execution, Dispatched(attempt=3, runner="r", claim=1), Requeued(attempt=3, cause="released"))
        await project(store, history)
        assert (await self.execution(store, execution))["losses"] == 2

    async def test_a_start_after_a_request_to_abort_does_not_take_it_back(self, store: ViewStore) -> None:
        history = History()
        execution = history.queue()
        history.add(execution, DISPATCHED, AbortRequested(attempt=1))
        await project(store, history)
        history.add(execution, STARTED)
        await project(store, history)
        row = await self.execution(store, execution)
        assert (row["status"], row["started_at"]) == ("abort_requested", at_ms(4))
        assert [live["status"] for live in await self.rows(store, "live_executions")] == ["abort_requested"]

    @pytest.mark.parametrize("outcome", ["never_started", "not_running", "acknowledged", "forced", "lost", "self"])
    async def test_an_abort_says_how_it_went_and_who_asked_first(self, store: ViewStore, outcome: Any) -> None:
        history = History()
        execution = history.queue()
        history.add(execution, DISPATCHED)
        history.add(execution, AbortRequested(attempt=1), actor="grace", reason="too hot")
        await project(store, history)
        history.add(execution, Aborted(attempt=1, outcome=outcome), actor="runner-1", reason="as told")
        await project(store, history)
        row = await self.execution(store, execution)
        assert (row["status"], row["abort_outcome"], row["ended_at"]) == ("aborted", outcome, at_ms(4))
        assert (row["abort_requested_by"], row["abort_reason"]) == ("grace", "too hot")
        assert row["abort_requested_at"] == at_ms(3)
        (attempt,) = await self.rows(store, "attempts")
        assert (attempt["status"], attempt["cause"]) == ("aborted", outcome)

    @pytest.mark.parametrize("outcome", ["forced", "self"])
    async def test_who_ends_an_execution_without_a_request_is_remembered(self, store: ViewStore, outcome: Any) -> None:
        history = History()
        execution = history.queue()
        await project(store, history)
        history.add(execution, DISPATCHED)
        history.add(execution, Aborted(attempt=1, outcome=outcome), actor="grace", reason="stuck")
        await project(store, history)
        row = await self.execution(store, execution)
        assert (row["abort_requested_by"], row["abort_reason"]) == ("grace", "stuck")

    @pytest.mark.parametrize("fact", [COMPLETED, Failed(attempt=1, failure=Failure(kind="user", message="no"))])
    async def test_an_abort_that_came_too_late_is_seen(self, store: ViewStore, fact: Any) -> None:
        history = History()
        execution = history.queue()
        history.add(execution, DISPATCHED, STARTED, AbortRequested(attempt=1))
        await project(store, history)
        history.add(execution, fact.model_copy(update={"abort": "too_late"}))
        await project(store, history)
        row = await self.execution(store, execution)
        assert (row["abort_outcome"], row["ended_at"] is not None) == ("too_late", True)
        assert row["status"] != "aborted"

    async def test_an_abort_before_any_attempt_leaves_none(self, store: ViewStore) -> None:
        history = History()
        execution = history.queue()
        await project(store, history)
        history.add(execution, AbortRequested(), Aborted(outcome="never_started"))
        await project(store, history)
        assert (await self.execution(store, execution))["status"] == "aborted"
        assert await self.rows(store, "attempts") == await self.rows(store, "live_executions") == []

    async def test_checkpoints_are_rows_with_their_sizes(self, store: ViewStore) -> None:
        history = History()
        execution = history.queue()
        history.add(execution, DISPATCHED, STARTED, Checkpointed(attempt=1, ordinal=2, value=json_payload("1")))
        await project(store, history)
        history.add(execution, Checkpointed(attempt=1, ordinal=3, value=json_payload({"rows": 400})))
        await project(store, history)
        first, second = await self.rows(store, "checkpoints")
        assert (first["execution_id"], first["sequence"], first["attempt"], first["size"]) == (execution, 4, 1, 3)
        assert (second["sequence"], second["size"], second["recorded_at"]) == (5, len('{"rows":400}'), at_ms(5))

    async def test_any_text_that_users_write_can_be_stored(self, store: ViewStore) -> None:
        nasty = "nul \x00 quote \" backslash \\ newline \n emoji \U0001f680 '; DROP TABLE"
        history = History()
        execution = history.queue(inputs=json_payload({nasty: nasty}), reason=nasty)
        history.add(execution, DISPATCHED, STARTED, Warned(attempt=1, ordinal=2, message=nasty))
        await project(store, history)
        history.add(execution, AbortRequested(attempt=1), reason=nasty)
        history.add(execution, Failed(attempt=1, failure=Failure(kind=nasty, message=nasty, traceback=nasty)))
        await project(store, history)
        row = await self.execution(store, execution)
        assert json.loads(row["inputs"]) == {nasty: nasty}
        assert json.loads(row["failure"]) == {"kind": nasty, "message": nasty, "traceback": nasty}
        assert row["reason"] == row["abort_reason"] == nasty.replace("\x00", "\ufffd")
        assert json.loads((await self.rows(store, "warnings"))[0]["warning"])["message"] == nasty

    async def test_a_quarantined_execution_says_so_and_goes_on_being_live(self, store: ViewStore) -> None:
        history = History()
        execution = history.queue()
        history.add(execution, Quarantined(error="boom"))
        await project(store, history)
        row = await self.execution(store, execution)
        assert (row["status"], json.loads(row["failure"])) == ("queued", {"kind": "quarantined", "message": "boom"})
        assert len(await self.rows(store, "live_executions")) == 1

    async def test_the_first_trace_of_a_command_stays(self, store: ViewStore) -> None:
        history = History()
        execution = history.queue(command_id="c1")
        history.add(execution, AbortRequested(), Aborted(outcome="never_started"), commandid="c2")
        await project(store, history)
        first = Outcome(sequence=1, subject=execution)
        history.add(execution, CommandRepeated(command="submit.v1", same_body=True, first=first), commandid="c1")
        refusal = Refusal(code="terminal", detail="already aborted")
        history.add(execution, CommandRejected(command="request_abort.v1", refusal=refusal), commandid="c3")
        await project(store, history)
        commands = {row["command_id"]: row for row in await self.rows(store, "commands")}
        assert {key: row["sequence"] for key, row in commands.items()} == {"c1": 1, "c2": 2, "c3": 5}
        assert (commands["c3"]["type"], commands["c3"]["subject"]) == ("command.rejected.v1", execution)
        assert (commands["c3"]["shard"], commands["c3"]["recorded_at"]) == (1, at_ms(5))

    async def test_refusals_are_in_the_journal_of_their_execution_without_a_version(self, store: ViewStore) -> None:
        history = History()
        execution = history.queue()
        refusal = Refusal(code="unknown", detail="no")
        history.add(execution, CommandRejected(command="dispatch.v1", refusal=refusal))
        history.add(execution, DISPATCHED)
        await project(store, history)
        journal = [row for row in await self.rows(store, "journal") if row["subject"] == execution]
        assert [(row["sequence"], row["version"]) for row in journal] == [(1, 1), (2, None), (3, 2)]

    async def test_ten_thousand_events_in_one_batch(self, store: ViewStore) -> None:
        history = History()
        earlier = [history.queue() for _ in range(2_000)]
        await project(store, history)
        for execution in earlier:
            history.add(execution, DISPATCHED, STARTED, COMPLETED)
        for _ in range(2_000):
            history.add(history.queue(), DISPATCHED)
        await project(store, history)
        assert [row["sequence"] for row in await self.rows(store, "journal")] == list(range(1, 12_001))
        statuses = [row["status"] for row in await self.rows(store, "executions")]
        assert (statuses.count("completed"), statuses.count("queued")) == (2_000, 2_000)
        assert len(await self.rows(store, "live_executions")) == 2_000
