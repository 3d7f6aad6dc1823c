"""The watchdog tells a lane that is stuck from one that is idle."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from execution_ledger.errors import LedgerError, Stalled, Unavailable
from execution_ledger.log.protocol import Lane, Topic
from execution_ledger.log.watchdog import LOOKS_PER_STALL, Watchdog

LANE = Lane(Topic.EVENTS, 1)


class Scene:
    """One lane, where it is read and where it ends; and how often its end was asked for."""

    def __init__(self) -> None:
        self.position = 0
        self.end = 0
        self.asked = 0
        self.away = False
        self.watchdog = Watchdog(lambda: {LANE: self.position}, self.ends, 15.0)

    async def ends(self, lanes: Collection[Lane]) -> Mapping[Lane, int]:
        self.asked += 1
        if self.away:
            raise Unavailable("away")
        return dict.fromkeys(lanes, self.end)

    async def looks(self, count: int) -> list[LedgerError | None]:
        return [await self.look() for _ in range(count)]

    async def look(self, *, asked: bool = True) -> LedgerError | None:
        self.watchdog.asked = asked
        return await self.watchdog.look()


async def test_an_idle_lane_is_fine_for_ever() -> None:
    assert set(await Scene().looks(50)) == {None}


async def test_a_lane_that_stands_behind_its_end_is_stalled_after_the_whole_time_and_not_before() -> None:
    scene = Scene()
    scene.end = 1
    *early, last = await scene.looks(LOOKS_PER_STALL + 1)
    assert set(early) == {None}
    assert isinstance(last, Stalled)
    assert "events/1" in str(last)


async def test_a_lane_that_moves_is_not_asked_about() -> None:
    scene = Scene()
    for scene.position in range(1, 20):
        scene.end = scene.position + 1_000
        assert await scene.look() is None
    assert scene.asked == 0


async def test_a_record_that_has_just_come_is_no_stall() -> None:
    scene = Scene()
    await scene.looks(10)
    scene.end = 1
    assert await scene.looks(LOOKS_PER_STALL - 1) == [None] * (LOOKS_PER_STALL - 1)
    scene.position = 1
    assert set(await scene.looks(10)) == {None}


async def test_a_broker_that_is_away_for_the_whole_time_is_unavailable() -> None:
    scene = Scene()
    scene.away = True
    *early, last = await scene.looks(LOOKS_PER_STALL + 1)
    assert set(early) == {None}
    assert isinstance(last, Unavailable)


async def test_a_broker_that_was_away_for_a_moment_is_forgiven() -> None:
    scene = Scene()
    for _ in range(5):
        scene.away = True
        await scene.looks(LOOKS_PER_STALL - 1)
        scene.away = False
        assert await scene.look() is None


async def test_where_nobody_reads_nothing_stands_still() -> None:
    """An owner that is busy with what it has taken must not be told that its reader is broken."""
    scene = Scene()
    scene.end = 1
    assert {await scene.look(asked=False) for _ in range(10)} == {None}
    *early, last = await scene.looks(LOOKS_PER_STALL + 1)
    assert set(early) == {None}
    assert isinstance(last, Stalled)
