"""What every view store must do, said once and run against each of them: holds, labels and jobs."""

from __future__ import annotations

from contract.events_builder import ACTOR, History
from contract.store_case import COMPLETED, DISPATCHED, STARTED, StoreCase, at_ms, project
from execution_ledger.messages.events import Aborted, CommandRejected, Held, JobOpened, LabelsChanged, Unheld
from execution_ledger.messages.parts import Refusal
from execution_ledger.messages.payload import json_payload
from execution_ledger.projector.store import ViewStore


class JobsContract(StoreCase):
    """A subclass brings the fixture `store`."""

    async def test_a_hold_is_there_until_it_is_over(self, store: ViewStore) -> None:
        history = History()
        one, other = history.queue(), history.queue()
        for execution in (one, other):
            history.add(execution, Held(), actor="grace", reason="not\x00yet")
        await project(store, history)
        row = await self.execution(store, one)
        assert (row["status"], row["held_at"], row["held_by"], row["hold_reason"]) == (
            "queued",
            at_ms(3),
            "grace",
            "not\ufffdyet",
        )
        history.add(one, Unheld())
        history.add(other, Aborted(outcome="never_started"))
        await project(store, history)
        for execution in (one, other):
            row = await self.execution(store, execution)
            assert (row["held_at"], row["held_by"], row["hold_reason"]) == (None, None, None)

    async def test_labels_change_one_by_one_also_behind_the_end(self, store: ViewStore) -> None:
        history = History()
        execution = history.queue(labels={"team": "blue", "old": "x", "a": "=1"})
        history.add(execution, DISPATCHED, STARTED, COMPLETED)
        await project(store, history)
        history.add(execution, LabelsChanged(labels={"team": "red", "B": 'ü,{"}'}, removed=["old", "never"]))
        history.add(execution, LabelsChanged(labels={"b": "2"}, removed=["team"]))
        await project(store, history)
        waiting = history.queue()
        await project(store, history)
        history.add(waiting, LabelsChanged(labels={"c": "3"}), DISPATCHED)
        await project(store, history)
        assert (await self.execution(store, waiting))["labels"] == ["c=3"]
        row = await self.execution(store, execution)
        assert row["labels"] == ['B=ü,{"}', "a==1", "b=2"]
        assert (row["status"], row["version"]) == ("completed", 4)

    async def test_a_job_and_what_its_commands_came_to(self, store: ViewStore) -> None:
        history = History()
        execution, job_id = history.queue(), history.new_id()
        targets = json_payload([execution, history.new_id()])
        history.add(f"job/{job_id}", JobOpened(job_id=job_id, action="hold", count=2, targets=targets), reason="why")
        history.add(execution, Held(), causationid=f"job/{job_id}", commandid="c-1")
        refusal = Refusal(code="already_held", detail="It is held.")
        for commandid in ("c-2", "c-1"):  # what was done stays done, whatever follows
            rejected = CommandRejected(command="hold.v1", refusal=refusal)
            history.add(execution, rejected, causationid=f"job/{job_id}", commandid=commandid)
            await project(store, history)
        (job,) = await self.rows(store, "jobs")
        assert (job["id"], job["action"], job["count"], job["shards"]) == (job_id, "hold", 2, '{"1":2}')
        assert (job["targets_digest"], job["reason"], job["actor"]) == (targets.sha256, "why", ACTOR)
        of_job = [row for row in await self.rows(store, "commands") if row["job_id"]]
        assert {(row["command_id"], str(row["job_id"]), row["refusal"]) for row in of_job} == {
            ("c-1", job_id, None),
            ("c-2", job_id, "already_held"),
        }
