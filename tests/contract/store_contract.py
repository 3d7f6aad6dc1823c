"""What every view store must do, said once and run against each of them: exactly once, and nothing lost."""

from __future__ import annotations

import pytest

from contract.events_builder import History
from contract.store_case import (
    DISPATCHED,
    MEASURED,
    PLOTTED,
    STARTED,
    TABLES,
    StoreCase,
    add_a_life_of_everything,
    folded,
    project,
)
from execution_ledger.errors import BrokenHistory, OutcomeUnknown
from execution_ledger.messages.events import (
    MetricRecorded,
    ShardCreated,
)
from execution_ledger.projector.columns import moment
from execution_ledger.projector.rows import fold
from execution_ledger.projector.store import ViewStore


class StoreContract(StoreCase):
    """A subclass brings the fixture `store`."""

    async def test_a_shard_that_was_never_projected_has_no_position(self, store: ViewStore) -> None:
        assert await store.position(1) is None

    async def test_the_position_lies_behind_the_marker_and_names_the_newest_event(self, store: ViewStore) -> None:
        history = History()
        history.queue()
        history.queue()
        await project(store, history)
        position = await store.position(1)
        newest = history.events[-1]
        assert position is not None
        assert (position.next_offset, position.kafka_offset, position.sequence) == (3, newest.offset, 2)
        assert (position.log_id, position.recorded_at) == ("log-1", moment(history.now_ms))

    async def test_the_journal_keeps_every_event_as_it_is(self, store: ViewStore) -> None:
        history = History()
        add_a_life_of_everything(history)
        await project(store, history)
        journal = await self.rows(store, "journal")
        assert [(row["sequence"], row["kafka_offset"], row["event"]) for row in journal] == [
            (it.event.sequence, it.offset, it.raw) for it in history.events
        ]

    async def test_position_and_newest_journal_row_agree_after_every_batch(self, store: ViewStore) -> None:
        history = History()
        for _ in range(3):
            history.add(history.queue(), DISPATCHED)
            await project(store, history)
            position = await store.position(1)
            newest = (await self.rows(store, "journal"))[-1]
            assert position is not None
            assert (position.sequence, position.kafka_offset) == (newest["sequence"], newest["kafka_offset"])

    async def test_an_answer_that_was_lost_leads_to_no_double_rows(self, store: ViewStore) -> None:
        history = History()
        history.queue()
        changes = await folded(store, history)
        await store.apply(None, changes)  # the answer is lost here …
        with pytest.raises(OutcomeUnknown):
            await store.apply(None, changes)  # … so it is tried again as it was
        assert await store.position(1) == changes.position  # which is what tells where to go on
        assert len(await self.rows(store, "journal")) == len(await self.rows(store, "executions")) == 1

    async def test_a_projector_that_was_thought_dead_changes_nothing(self, store: ViewStore) -> None:
        history = History()
        execution = history.queue()
        await project(store, history)
        stale = await store.position(1)
        history.add(execution, DISPATCHED)
        late = fold(1, stale, history.take(), history.offset)
        history.add(execution, STARTED)
        await store.apply(stale, fold(1, stale, history.events[1:], history.offset))
        before = [await self.rows(store, table) for table in TABLES]
        with pytest.raises(OutcomeUnknown):
            await store.apply(stale, late)
        assert [await self.rows(store, table) for table in TABLES] == before

    async def test_two_that_begin_a_shard_are_told_apart(self, store: ViewStore) -> None:
        history, other = History(), History()
        history.queue()
        other.add("shard", ShardCreated(log_id="log-1", shards=4))
        changes, late = await folded(store, history), await folded(store, other)
        await store.apply(None, changes)
        with pytest.raises(OutcomeUnknown):
            await store.apply(None, late)
        assert await store.position(1) == changes.position

    async def test_an_execution_whose_chain_the_views_do_not_hold_is_refused_whole(self, store: ViewStore) -> None:
        history = History()
        execution = history.queue()
        other = history.queue()
        await project(store, history)
        at = await store.position(1)
        history.add(other, DISPATCHED)
        history.add(execution, DISPATCHED, previous="0" * 64)
        with pytest.raises(BrokenHistory, match="rebuild"):
            await store.apply(at, await folded(store, history))
        assert await store.position(1) == at
        assert (await self.execution(store, other))["version"] == 1

    async def test_shards_do_not_know_of_each_other(self, store: ViewStore) -> None:
        one, two = History(1), History(2)
        one.queue()
        two.queue()
        await project(store, one)
        await project(store, two)
        assert {row["shard"] for row in await self.rows(store, "executions")} == {1, 2}
        assert [row["sequence"] for row in await self.rows(store, "positions")] == [1, 1]

    async def test_every_move_is_announced(self, store: ViewStore) -> None:
        history = History()
        history.queue()
        history.queue()
        assert await self.announced(store, project(store, history)) == [(1, 2)]

    async def test_preparing_and_closing_may_be_repeated(self, store: ViewStore) -> None:
        history = History()
        history.queue()
        await project(store, history)
        await store.prepare()
        await store.close()
        await store.close()
        assert await store.position(1) is not None

    async def test_artifacts_and_metrics_are_rows_of_their_own(self, store: ViewStore) -> None:
        history = History()
        execution = history.queue()
        single = MetricRecorded(attempt=1, ordinal=5, name="rmse", value=0.1)
        history.add(execution, DISPATCHED, STARTED, PLOTTED, MEASURED, single)
        await project(store, history)
        [plot] = await self.rows(store, "artifacts")
        told = ("execution_id", "sequence", "attempt", "kind", "name", "step", "sha256", "size", "media_type")
        file = PLOTTED.file
        seen = (execution, 4, 1, "plot", "trend", "fit", file.sha256, file.size, file.media_type)
        assert tuple(plot[name] for name in told) == seen
        metrics = await self.rows(store, "metrics")
        assert [(row["name"], row["value"], row["values"]) for row in metrics] == [
            ("loss", None, [0.5, 0.25]),
            ("rmse", 0.1, None),
        ]
