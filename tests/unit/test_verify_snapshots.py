"""The check of snapshots against the log, in memory: each damage is named, by shard, sequence and file."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from execution_ledger.clock import World
from execution_ledger.dispatcher.board import Phase
from execution_ledger.dispatcher.claims import Claim
from execution_ledger.dispatcher.folded import Folded
from execution_ledger.dispatcher.limits import Held
from execution_ledger.ledger import keeping as ledger_keeping
from execution_ledger.log.protocol import Lane, Record, Topic
from execution_ledger.objects import MemoryObjects
from execution_ledger.settings import LedgerSettings
from execution_ledger.snapshots.form import Snapshot
from execution_ledger.snapshots.keeping import events_in
from execution_ledger.verify.findings import Breach
from execution_ledger.verify.folds.comparing import DispatcherFold, Subject, subjects
from execution_ledger.verify.folds.snapshots import SnapshotCheck, kept_of
from unit.dispatcher_stage import SHARDS as DESK_SHARDS
from unit.dispatcher_stage import Cluster, Runner, acting
from unit.snapshot_stage import Stage, used
from unit.test_ledger_service import SHARDS, in_virtual_time

LEDGER = "ledger-1"


class Checked:
    """All snapshots of a stage, checked."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.log_id = stage.kept()[0].split("/")[1]
        self.whose = subjects(stage.objects, LedgerSettings(), SHARDS)
        self.compared: dict[str, int] = {}
        self.events = 0

    async def breaches(self) -> list[Breach]:
        found = []
        for name, kept in (await kept_of(self.stage.objects, self.log_id, self.whose)).own.items():
            checked = await SnapshotCheck(self.stage.log, self.whose[name], self.log_id, lambda _: None).run(kept)
            self.compared[name], self.events = checked.snapshots, self.events + checked.events
            found += checked.breaches.kept
        return found

    async def rewrite(self, name: str, change: Callable[[Snapshot[Any]], Snapshot[Any]]) -> str:
        """The newest one with something else in it, and with a digest that fits; its file."""
        newest, subject = self.stage.kept(name)[-1], self.subject(name)
        kept = await subject.keeper.read(newest, self.log_id)
        await subject.keeper._write(name, self.log_id, change(kept))
        return newest

    def subject(self, name: str) -> Subject[Any]:
        return self.whose[name]


def with_snapshots(scenario: Callable[[Checked], Awaitable[None]]) -> None:
    """Of a ledger and a dispatcher, both at their end."""

    async def play(world: World) -> None:
        stage = Stage(world)
        ledger, dispatcher = stage.ledger(), stage.dispatcher()
        await stage.submit(40)
        await asyncio.sleep(3)
        for one in (dispatcher, ledger):
            await one.stop()
        await scenario(Checked(stage))

    in_virtual_time(play)


def test_true_snapshots_are_the_fold_of_the_log() -> None:
    async def scenario(checked: Checked) -> None:
        assert await checked.breaches() == []
        assert checked.compared[LEDGER] == checked.compared["dispatcher"] == 2
        newest = [max(map(events_in, checked.stage.kept(name))) for name in checked.compared]
        assert checked.events == sum(newest), "the log is folded once, and no further than the newest"

    with_snapshots(scenario)


Damage = Callable[[Checked], Awaitable[str]]  # answers with the damaged file


async def one_byte(checked: Checked) -> str:
    newest = checked.stage.kept()[-1]
    held = checked.stage.objects.held
    assert b'"train-' in held[newest]
    held[newest] = held[newest].replace(b'"train-', b'"trein-', 1)
    return newest


async def another_logs(checked: Checked) -> str:
    other = Stage(checked.stage.world, MemoryObjects())
    await used(other)
    newest = checked.stage.kept()[-1]
    checked.stage.objects.held[newest] = other.objects.held[other.kept()[-1]]
    return newest


async def another_state(checked: Checked) -> str:
    return await checked.rewrite(LEDGER, lambda kept: Snapshot(kept.marks, replace(kept.state, ordinal=7)))


async def a_lost_execution(checked: Checked) -> str:
    def lose(kept: Snapshot[Any]) -> Snapshot[Any]:
        return Snapshot(kept.marks, replace(kept.state, live=kept.state.live.remove(next(iter(kept.state.live)))))

    return await checked.rewrite(LEDGER, lose)


async def another_event(checked: Checked) -> str:
    return await checked.rewrite(LEDGER, lambda kept: Snapshot((kept.marks[0]._replace(digest="0" * 64),), kept.state))


async def no_event_yet(checked: Checked) -> str:
    return await checked.rewrite(LEDGER, lambda kept: Snapshot((kept.marks[0]._replace(offset=10**6),), kept.state))


DAMAGES: dict[str, tuple[Damage, str]] = {
    "one byte": (one_byte, "digest is missing or wrong"),
    "another log's": (another_logs, "of another log"),
    "another state": (another_state, "differs in ordinal"),
    "a lost execution": (a_lost_execution, "differs in live"),
    "another event": (another_event, "no event of this sequence and digest"),
    "no event yet": (no_event_yet, "no event of this sequence and digest at offset 1000000"),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_one_damage_to_a_snapshot_is_one_breach_and_is_named(kind: str) -> None:
    damage, what = DAMAGES[kind]

    async def scenario(checked: Checked) -> None:
        file = await damage(checked)
        (breach,) = await checked.breaches()
        assert breach[:4] == (7, 1, events_in(file), None)
        assert f"Snapshot {file}: " in breach.what
        assert what in breach.what

    with_snapshots(scenario)


def test_a_mark_of_another_shard_is_a_breach() -> None:
    async def scenario(checked: Checked) -> None:
        await checked.rewrite(LEDGER, lambda kept: Snapshot((kept.marks[0]._replace(shard=0),), kept.state))
        (breach,) = await checked.breaches()
        assert breach[:2] == (7, 0)
        assert f"/{LEDGER}/" in breach.what

    with_snapshots(scenario)


def test_a_damaged_snapshot_of_a_dispatcher_is_named() -> None:
    async def scenario(checked: Checked) -> None:
        def end_one(kept: Snapshot[Any]) -> Snapshot[Any]:
            kept.state.executions.popitem()
            return kept

        file = await checked.rewrite("dispatcher", end_one)
        (breach,) = await checked.breaches()
        assert breach[:4] == (7, 0, None, None)
        assert f"Snapshot {file}: " in breach.what
        assert breach.what.endswith("differs in executions.")

    with_snapshots(scenario)


def test_what_other_code_or_settings_have_written_is_named_and_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(checked: Checked) -> None:
        stage = checked.stage
        before = stage.kept()
        monkeypatch.setattr(ledger_keeping, "FOLD_VERSION", 10**6)
        whose = subjects(stage.objects, LedgerSettings(), SHARDS)
        kept = await kept_of(stage.objects, checked.log_id, whose)
        assert kept.own.keys() == {"dispatcher"}
        assert kept.others == before
        assert all(name in next(kept.notes()) for name in before)

    with_snapshots(scenario)


def test_one_that_was_replaced_meanwhile_is_left_alone() -> None:
    async def scenario(checked: Checked) -> None:
        older, newest = checked.stage.kept()
        checked.stage.objects.held.pop(older)
        check = SnapshotCheck(checked.stage.log, checked.subject(LEDGER), checked.log_id, lambda _: None)
        found = await check.run([older, newest])
        assert (found.snapshots, found.breaches.kept) == (1, [])

    with_snapshots(scenario)


# --- what heartbeats have done to a dispatcher's state ----------------------------------------------------------


def folded_from(cluster: Cluster) -> DispatcherFold:
    """From the log alone."""
    fold = DispatcherFold(DESK_SHARDS)
    for ledger in cluster.ledgers:
        for event in ledger.history:
            fold.take(event, Record(Lane(Topic.EVENTS, ledger.shard), event.sequence, 0, None, None))
    return fold


def test_places_that_heartbeats_freed_or_took_are_no_difference() -> None:
    cluster = Cluster()
    dispatcher, runner = acting(cluster), Runner(cluster, slots=1)
    first = cluster.submit(limit=1)
    runner.beat()
    dispatcher.ticks(1)
    runner.start(dispatcher.told_of("start")[0])
    cluster.force_abort(first)
    dispatcher.ticks(1)
    held = dispatcher.desk.folded()
    assert held.held
    assert folded_from(cluster).differing(held) == []
    runner.listed.clear()
    for _ in range(2):
        runner.beat()
        dispatcher.ticks(1)
    freed = dispatcher.desk.folded()
    assert freed.held == {}
    assert folded_from(cluster).differing(freed) == []
    unknown = replace(freed, held={"nobody/1": Held("r9", "", cluster.now_ms)})
    assert folded_from(cluster).differing(unknown) == []


CHANGES: dict[str, Callable[[Folded], Folded]] = {
    "claim": lambda kept: replace(kept, claim=Claim(kept.claim.number, "another", kept.claim.recorded_ms)),
    "held": lambda kept: replace(kept, held={key: held._replace(runner="r9") for key, held in kept.held.items()}),
    "limits": lambda kept: replace(kept, limits={}),
}


@pytest.mark.parametrize("field", [*CHANGES, "executions"])
def test_what_the_log_says_otherwise_is_a_difference(field: str) -> None:
    cluster = Cluster()
    dispatcher, runner = acting(cluster), Runner(cluster, slots=1)
    first = cluster.submit(limit=1)
    runner.beat()
    dispatcher.ticks(1)
    runner.start(dispatcher.told_of("start")[0])
    cluster.force_abort(first)
    cluster.submit()
    dispatcher.ticks(1)
    kept = dispatcher.desk.folded()
    if field == "executions":
        next(iter(kept.executions.values())).phase = Phase.STARTED
    else:
        kept = CHANGES[field](kept)
    assert folded_from(cluster).differing(kept) == [field]
