"""Ledgers and dispatchers restart from snapshots, on the memory log, whatever befalls the snapshots."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from dataclasses import replace
from typing import Any

import pytest

from execution_ledger.clock import World
from execution_ledger.ledger import keeping as ledger_keeping
from execution_ledger.ledger.service import LedgerService
from execution_ledger.ledger.shard import initial
from execution_ledger.log.protocol import Lane, Topic
from execution_ledger.objects import MemoryObjects
from execution_ledger.settings import LedgerSettings, SnapshotSettings
from execution_ledger.snapshots.form import Mark, Snapshot
from execution_ledger.snapshots.keeping import READ_S_MAX
from unit.histories import folded
from unit.snapshot_stage import OFTEN, Counted, Failing, Stage, used
from unit.test_ledger_service import SHARDS, history, in_virtual_time


def test_a_restart_reads_only_what_came_after_the_newest_snapshot() -> None:
    async def scenario(world: World) -> None:
        stage = Stage(world)
        await used(stage)
        assert len(stage.kept()) == 2
        began, passed_over = await stage.begin_anew()
        head = json.loads(stage.objects.held[stage.kept()[0]].split(b"\n")[0])
        assert 20 < head["marks"][0][1] < began
        assert passed_over == []

    in_virtual_time(scenario)


def test_a_snapshot_is_what_folding_the_log_up_to_it_gives() -> None:
    async def scenario(world: World) -> None:
        stage = Stage(world)
        await used(stage)
        keeper = ledger_keeping.keeper(stage.objects, world, OFTEN, LedgerSettings(), SHARDS)
        found = await keeper.newest(stage.log, "ledger-1", 1)
        assert found
        up_to_it = [event for event in await history(stage.log, 1) if event.sequence <= found.marks[0].sequence]
        expected = folded(up_to_it, 1, initial(1, SHARDS, LedgerSettings()))
        assert found.state == expected
        assert ledger_keeping.LAYOUT.digest(found.state) == ledger_keeping.LAYOUT.digest(expected)

    in_virtual_time(scenario)


def test_none_is_written_before_folding_the_tail_would_take_long_enough() -> None:
    async def scenario(world: World) -> None:
        stage = Stage(world, settings=SnapshotSettings(due_s=1.0))
        await used(stage)
        assert stage.objects.held == {}

    in_virtual_time(scenario)


def damage(stage: Stage, change: Callable[[bytes], bytes]) -> None:
    newest = stage.kept()[-1]
    stage.objects.held[newest] = change(stage.objects.held[newest])


def head_with(**changes: object) -> Callable[[bytes], bytes]:
    def change(whole: bytes) -> bytes:
        head, rest = whole.split(b"\n", 1)
        return json.dumps(json.loads(head) | changes).encode() + b"\n" + rest

    return change


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut off": (lambda whole: whole[:-90], "digest is missing"),
    "empty": (lambda _: b"", "digest is missing"),
    "one bit": (lambda whole: whole.replace(b'"train-', b'"trein-', 1), "digest is missing or wrong"),
    "no JSON": (lambda whole: whole[:300] + b"\xff" + whole[301:], "damaged"),
    "a path that nobody knows": (lambda whole: whole.replace(b'["answers.', b'["reasons.', 1), "damaged|wrong"),
    "another shape": (lambda whole: re.sub(rb'\["live",.*', b'["live",[1]]', whole), "damaged"),
    "more behind its digest": (lambda whole: whole + b'["live",{}]\n', "more follows its digest"),
    "a newer format": (head_with(format=2), "format is 2"),
    "another log": (head_with(log_id="other"), "another log"),
    "other shards": (head_with(shards=9), "another log"),
    "other code": (head_with(fingerprint="other"), "other code"),
    "an event that the log does not hold": (head_with(marks=[[1, 20, 3, "0" * 64]]), "wrong|does not hold"),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_one_that_cannot_be_trusted_is_passed_over_for_the_one_before(kind: str) -> None:
    change, why = DAMAGES[kind]

    async def scenario(world: World) -> None:
        stage = Stage(world)
        await used(stage)
        older = json.loads(stage.objects.held[stage.kept()[0]].split(b"\n")[0])["marks"][0][2]
        damage(stage, change)
        began, passed_over = await stage.begin_anew()
        assert began == older + 1
        assert any(word in passed_over[0]["why"] for word in why.split("|")), passed_over

    in_virtual_time(scenario)


def test_a_log_that_was_restored_from_a_copy_keeps_its_own_although_those_of_before_have_more_events() -> None:
    async def scenario(world: World) -> None:
        stage = Stage(world)
        await used(stage)
        later = [re.sub(r"/0(\d{19})-", r"/9\1-", name) for name in stage.kept()]
        stage.objects.held.update(dict.fromkeys(later, b"of a longer log"))
        await used(stage)
        began, passed_over = await stage.begin_anew()
        assert len(passed_over) == len(later) == 2
        assert began > 60
        assert len(stage.kept()) == 4

    in_virtual_time(scenario)


def test_one_that_code_with_a_defect_has_kept_does_not_stop_the_shard() -> None:
    async def scenario(world: World) -> None:
        stage = Stage(world)
        await used(stage)
        keeper = ledger_keeping.keeper(stage.objects, world, OFTEN, LedgerSettings(), SHARDS)
        true = await keeper.newest(stage.log, "ledger-1", 1)
        assert true
        wrong = replace(true.state, sequence=true.state.sequence - 1)
        await keeper._write("ledger-1", true.state.log_id, Snapshot(true.marks, wrong))
        began, _ = await stage.begin_anew()
        assert began == 0

    in_virtual_time(scenario)


def test_one_of_an_event_that_the_log_no_longer_holds_is_passed_over() -> None:
    async def scenario(world: World) -> None:
        stage = Stage(world)
        await used(stage)
        keeper = ledger_keeping.keeper(stage.objects, world, OFTEN, LedgerSettings(), SHARDS)
        true = await keeper.newest(stage.log, "ledger-1", 1)
        assert true
        for offset, digest in ((true.marks[0].offset, "0" * 64), (10**6, true.marks[0].digest)):
            lie = Snapshot((Mark(1, 10**6 + offset, offset, digest),), true.state)
            await keeper._write("ledger-1", true.state.log_id, lie)
        _, passed_over = await stage.begin_anew()
        assert ["does not hold" in each["why"] for each in passed_over] == [True, True]

    in_virtual_time(scenario)


def test_where_none_can_be_trusted_the_whole_log_is_read() -> None:
    async def scenario(world: World) -> None:
        stage = Stage(world)
        await used(stage)
        for name in stage.kept():
            stage.objects.held[name] = b"nonsense"
        began, passed_over = await stage.begin_anew()
        assert (began, len(passed_over)) == (0, 2)

    in_virtual_time(scenario)


def test_other_code_reads_the_whole_log_and_leaves_the_way_back_open(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(world: World) -> None:
        stage = Stage(world)
        await used(stage)
        before = set(stage.kept())
        monkeypatch.setattr(ledger_keeping, "FOLD_VERSION", 10**6)
        began, _ = await stage.begin_anew()
        assert began == 0
        await used(stage)
        assert before < set(stage.kept())
        assert len(stage.kept()) == 4
        monkeypatch.undo()
        began, _ = await stage.begin_anew()
        assert began > 0

    in_virtual_time(scenario)


def test_what_is_remembered_for_another_time_is_another_fold() -> None:
    world: Any = None
    prints = {
        ledger_keeping.keeper(MemoryObjects(), world, OFTEN, settings, SHARDS)._fingerprint
        for settings in (LedgerSettings(), LedgerSettings(), LedgerSettings(keyed_ms=5))
    }
    assert len(prints) == 2


def test_a_shard_whose_first_writer_came_to_nothing_has_no_snapshot_and_no_need_to_wait_for_one() -> None:
    async def scenario(world: World) -> None:
        stage = Stage(world)
        partition = stage.log.partition(Lane(Topic.EVENTS, 1))
        partition.end = partition.stable = 3  # what was aborted takes its offsets, and nobody ever sees it
        keeper = ledger_keeping.keeper(stage.objects, world, OFTEN, LedgerSettings(), SHARDS)
        assert await keeper.newest(stage.log, "ledger-1", 1) is None

    in_virtual_time(scenario)


class Silent(MemoryObjects):
    """Does not answer while it is told not to."""

    silent = False

    async def get(self, name: str) -> AsyncGenerator[bytes, None]:
        if self.silent:
            await asyncio.Event().wait()
        async for piece in super().get(name):
            yield piece


def test_a_store_that_does_not_answer_holds_up_a_start_once_and_not_once_for_each_snapshot() -> None:
    async def scenario(world: World) -> None:
        objects = Silent()
        stage = Stage(world, objects)
        await used(stage)
        objects.silent = True
        ledger, began_s = stage.ledger(), world.clock.monotonic_s()
        await ledger.service.ready.wait()
        assert world.clock.monotonic_s() - began_s < READ_S_MAX + 5
        await ledger.stop()

    in_virtual_time(scenario)


def test_a_store_that_does_not_answer_does_not_hold_up_an_end() -> None:
    async def scenario(world: World) -> None:
        objects = Silent()
        stage = Stage(world, objects)
        await used(stage)
        objects.silent = True
        ledger, began_s = stage.ledger(), world.clock.monotonic_s()
        await asyncio.sleep(3)  # virtual: it is in the middle of it
        await ledger.stop()
        assert world.clock.monotonic_s() - began_s < 5

    in_virtual_time(scenario)


@pytest.mark.parametrize("failing", ["put", "delete"])
def test_a_store_that_fails_holds_up_no_commit_and_is_tried_again(failing: str) -> None:
    async def scenario(world: World) -> None:
        objects = Failing()
        stage = Stage(world, objects)
        ledger = stage.ledger()
        objects.failing = failing
        await stage.submit(60)
        assert 2 <= objects.asked <= 8, "again, but with pauses"
        assert sum(event.data.TYPE == "execution.queued.v1" for event in await history(stage.log, 1)) >= 59
        assert isinstance(ledger.service, LedgerService)
        assert ledger.service._keeper
        assert ledger.service._keeper.failed == objects.asked
        objects.failing = ""
        await asyncio.sleep(70)
        await stage.submit(10)
        await asyncio.sleep(1)
        assert len(stage.kept()) == 2, "what a crash or a failure left behind is deleted with the next one"
        await ledger.stop()

    in_virtual_time(scenario)


@pytest.mark.parametrize("failing", ["names", "get"])
def test_without_its_store_a_ledger_reads_the_whole_log(failing: str) -> None:
    async def scenario(world: World) -> None:
        objects = Failing()
        stage = Stage(world, objects)
        await used(stage)
        objects.failing = failing
        began, _ = await stage.begin_anew()
        assert began == 0

    in_virtual_time(scenario)


def test_only_one_is_written_at_a_time_and_deciding_goes_on_meanwhile() -> None:
    class Slow(MemoryObjects):
        writing = most = 0

        async def put(self, name: str, pieces: AsyncIterable[bytes]) -> None:
            self.writing += 1
            self.most = max(self.most, self.writing)
            await asyncio.sleep(1)
            await super().put(name, pieces)
            self.writing -= 1

    async def scenario(world: World) -> None:
        objects = Slow()
        stage = Stage(world, objects)
        ledger = stage.ledger()
        await stage.submit(100)
        assert objects.most == 1
        assert len(await history(stage.log, 1)) >= 100
        await ledger.stop()

    in_virtual_time(scenario)


def test_folding_is_measured_and_costly_writing_makes_snapshots_rarer() -> None:
    async def scenario(world: World) -> None:
        keeper = ledger_keeping.keeper(MemoryObjects(), world, SnapshotSettings(), LedgerSettings(), SHARDS)
        assert not keeper.is_due("ledger-1", 16_000)
        assert keeper.is_due("ledger-1", 17_000)
        keeper.measured(10, 100.0)
        assert not keeper.is_due("ledger-1", 16_000), "so few events say little"
        keeper.measured(10_000, 2.0)
        assert keeper.is_due("ledger-1", 5_000)
        keeper._sizes["ledger-1"] = 10_000_000
        assert keeper.is_due("ledger-2", 5_000)
        assert not keeper.is_due("ledger-1", 12_000)
        assert keeper.is_due("ledger-1", 12_500)

    in_virtual_time(scenario)


def test_states_are_kept_apart_by_log() -> None:
    """A log that was made anew finds nothing, and deletes nothing, of the one before it."""

    async def scenario(world: World) -> None:
        stage = Stage(world)
        await used(stage)
        before = dict(stage.objects.held)
        stage.log = Counted(world)
        await used(stage, 20)
        assert before.items() < stage.objects.held.items()
        began, passed_over = await stage.begin_anew()
        assert 0 < began < 50
        assert passed_over == []

    in_virtual_time(scenario)
