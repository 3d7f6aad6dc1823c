"""Bad records on every topic while the real services run: nothing stops, nothing is lost, and the log stays whole."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from execution_ledger.errors import BrokenHistory, UnknownVersion
from execution_ledger.ledger.service import LedgerService
from execution_ledger.log.memory import MemoryLog
from execution_ledger.log.protocol import Lane, Outgoing, Topic
from execution_ledger.messages.commands import COMMANDS
from execution_ledger.messages.heartbeats import HEARTBEATS
from execution_ledger.messages.inbox import INBOX
from execution_ledger.messages.reports import REPORTS
from execution_ledger.projector.service import ProjectorService
from execution_ledger.runner.service import RunnerService
from execution_ledger.settings import Settings
from execution_ledger.trials.simulate.cluster import INBOX_PARTITIONS
from execution_ledger.trials.simulate.loop import VirtualLoop
from unit.bad_records import RECORD_BYTES, Bare, bad_records
from unit.cluster_stage import Cluster
from unit.test_scenario import PIPELINES, all_ended, check_views, submitted, until, verified

SHARDS = Settings().kafka.shards
READERS: dict[Topic, TypeAdapter[Any]] = {
    Topic.COMMANDS: COMMANDS,
    Topic.REPORTS: REPORTS,
    Topic.HEARTBEATS: HEARTBEATS,
    Topic.INBOX: INBOX,
}


def lanes(topic: Topic) -> list[Lane]:
    count = {Topic.INBOX: INBOX_PARTITIONS, Topic.HEARTBEATS: 1}.get(topic, SHARDS)
    return [Lane(topic, number) for number in range(count)]


def write_bare(log: MemoryLog, lane: Lane, records: list[Bare], now_ms: int) -> None:
    """As a stranger would, without asking what it is."""
    log.partition(lane).write(lane, [Outgoing(*record) for record in records], now_ms)  # type: ignore[arg-type]
    log.partition(lane).settle()


async def scenario(loop: VirtualLoop, topic: Topic) -> Cluster:
    async with Cluster(loop, 1, PIPELINES, Settings()) as cluster:
        for name in ("projector-a", "ledger-a", "dispatcher-a", "runner-a"):
            cluster.start(name)
        await until(lambda: len(cluster.tail.catalog.page("", limit=100)) == len(PIPELINES), within_s=60)
        runner = cluster.processes["runner-a"].service
        assert isinstance(runner, RunnerService)
        before = await submitted(cluster, "slow", 1)
        for lane in lanes(topic):
            write_bare(cluster.log, lane, bad_records(topic, runner.process.encode()), cluster.world.clock.now_ms())
        await asyncio.sleep(5)
        after = [await submitted(cluster, "double", number) for number in range(2, 8)]
        await all_ended(cluster, [before, *after])
        assert {cluster.store.executions[one]["status"] for one in [before, *after]} == {"completed"}
        assert {cluster.store.executions[one]["attempt"] for one in [before, *after]} == {1}
        assert not any(process.task.done() for process in cluster.processes.values())
        await cluster.stop()
    return cluster


@pytest.mark.parametrize("topic", READERS)
def test_what_cannot_be_read_stops_nobody(topic: Topic) -> None:
    loop = VirtualLoop(1)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        cluster = runner.run(scenario(loop, topic))
        findings, history = runner.run(verified(cluster))
    assert findings.breaches.kept == []
    check_views(history, cluster)
    unreadable = [raw for stored in history.values() for raw, _ in stored if b"command.unreadable" in raw]
    sent = len(bad_records(topic, b"key")) * SHARDS
    assert len(unreadable) == (sent if topic in (Topic.COMMANDS, Topic.REPORTS) else 0)


@pytest.mark.parametrize("topic", READERS)
def test_the_bad_records_are_bad(topic: Topic) -> None:
    for _, value in bad_records(topic, b"key"):
        with pytest.raises(ValidationError):
            READERS[topic].validate_json(value or b"")


# --- events: only ledgers write there, so a stranger among them is no bad input but a broken log -------------------


async def broken(loop: VirtualLoop, value: bytes | None) -> tuple[Cluster, str]:
    """A log of which shard 1 has a stranger behind its last event, and where that lies."""
    cluster = Cluster(loop, 1, PIPELINES, Settings())
    cluster.start("ledger-a")
    await until(cluster.processes["ledger-a"].service.ready.is_set, within_s=60)
    await cluster.stop()
    cluster.processes.clear()
    lane = Lane(Topic.EVENTS, 1)
    at = await cluster.log.end(lane)
    write_bare(cluster.log, lane, [(b"key", value)], cluster.world.clock.now_ms())
    return cluster, f"offset {at} of events, partition 1"


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        (None, BrokenHistory, "let nobody but ledgers write there"),
        (b"{", BrokenHistory, "let nobody but ledgers write there"),
        (b"x" * RECORD_BYTES, BrokenHistory, "let nobody but ledgers write there"),
        (b'{"type": "executionledger.execution.queued.v9"}', UnknownVersion, "newer release"),
    ],
)
def test_a_stranger_among_the_events_stops_every_reader_of_its_shard_and_is_named(
    value: bytes | None, error: type[Exception], said: str
) -> None:
    async def scenario() -> None:
        cluster, place = await broken(loop, value)
        async with cluster:
            with pytest.raises(error, match=f"{place}.*{said}"):
                await cluster.tail_task
            cluster.start("projector-a")
            cluster.start("ledger-a")
            cluster.start("dispatcher-a")
            with pytest.raises(error, match=f"{place}.*{said}"):
                await cluster.processes["dispatcher-a"].task
            await asyncio.sleep(60)
            projector, ledger = (cluster.processes[name].service for name in ("projector-a", "ledger-a"))
            assert isinstance(projector, ProjectorService)
            assert isinstance(ledger, LedgerService)
            assert list(projector.halted) == [1]
            assert place in str(projector.halted[1])
            assert ledger.serving == set(range(SHARDS)) - {1}
            assert not ledger.ready.is_set()
            assert cluster.log.partition(Lane(Topic.EVENTS, 1)).epoch <= 3  # once a process, not in a loop

    loop = VirtualLoop(1)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(scenario())
