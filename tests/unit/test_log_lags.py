"""How far a reader is behind, in records and in time, from one read to the next."""

from __future__ import annotations

from execution_ledger.clock import World
from execution_ledger.log.lags import Lag, Lags
from execution_ledger.log.memory import MemoryLog
from execution_ledger.log.protocol import Lane, Outgoing, Topic
from unit.test_ledger_service import in_virtual_time

LANE = Lane(Topic.COMMANDS, 1)
BATCH = [Outgoing(b"k", b"v")] * 3


class Moment:
    """A clock that a test sets."""

    now_ms = 1_000


def test_what_a_read_brought_is_dealt_with_when_more_is_asked_for() -> None:
    async def scenario(world: World) -> None:
        log, lags = MemoryLog(2, now_ms=lambda: Moment.now_ms), Lags(lambda: Moment.now_ms)
        await log.send(LANE, BATCH)
        async with lags.reader(log, {LANE: 0}) as reader:
            await reader.read(0)
            Moment.now_ms = 5_000
            assert lags.lags() == {LANE: Lag(records=3, seconds=4.0, unstable=0)}
            await reader.read(0)
            assert lags.lags() == {LANE: Lag(records=0, seconds=0.0, unstable=0)}

    in_virtual_time(scenario)


def test_while_no_reader_is_open_the_time_since_the_last_read_is_the_lag() -> None:
    async def scenario(world: World) -> None:
        log, lags = MemoryLog(2, now_ms=lambda: Moment.now_ms), Lags(lambda: Moment.now_ms)
        assert lags.lags() == {}
        async with lags.reader(log, {LANE: 0}) as reader:
            await reader.read(0)
            await reader.read(0)
        Moment.now_ms += 7_000
        assert lags.lags() == {LANE: Lag(records=0, seconds=7.0, unstable=0)}
        await log.send(LANE, BATCH)
        async with lags.reader(log, {LANE: 0}):
            assert lags.lags() == {LANE: Lag(records=3, seconds=7.0, unstable=0)}

    in_virtual_time(scenario)


def test_what_is_written_and_not_decided_is_told_apart() -> None:
    async def scenario(world: World) -> None:
        log, lags = MemoryLog(2, now_ms=lambda: Moment.now_ms), Lags(lambda: Moment.now_ms)
        lane = Lane(Topic.EVENTS, 1)
        async with log.take_over(1) as writer, lags.reader(log, {lane: 0}):
            await writer.append(BATCH)  # three records and a marker, which readers see moments later
            assert lags.lags() == {lane: Lag(records=0, seconds=0.0, unstable=4)}

    in_virtual_time(scenario)
