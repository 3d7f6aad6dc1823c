"""Reading a log: what is kept, what the topic still has, and what comes while somebody follows."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

import pytest

from execution_ledger.clock import World
from execution_ledger.files import Files
from execution_ledger.gateway.reads.log_reading import KEPT_MS, Known, LogReading, Span, Wanted
from execution_ledger.log.memory import MemoryLog
from execution_ledger.log.protocol import Lane, Outgoing, Topic
from execution_ledger.messages.ids import make_id
from execution_ledger.messages.lines import LogLine
from execution_ledger.objects import MemoryObjects
from execution_ledger.trials.simulate.loop import VirtualLoop, virtual_world

ID, OTHER = make_id(1_700_000_000_000, 1, 1), make_id(1_700_000_000_000, 1, 2)
LANE = Lane(Topic.LOGS, 1)


def line(ordinal: int, attempt: int = 1, step: str | None = None) -> bytes:
    said = LogLine(attempt=attempt, ordinal=ordinal, time=1, stream="stdout", step=step, text=f"{attempt}.{ordinal}")
    return said.model_dump_json(exclude_none=True).encode() + b"\n"


class Scene:
    """One execution, as the views show it, and its readers."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.log = MemoryLog(3, now_ms=world.clock.now_ms)
        self.files = Files(MemoryObjects(), world, 10_000_000)
        self.ended = False
        self.spans: dict[int, Span] = {}
        self.ending = asyncio.get_running_loop().create_future()
        self.stopping = asyncio.Event()

    def begin(self, attempt: int = 1) -> None:
        self.spans[attempt] = Span(attempt, self.world.clock.now_ms(), None, None)

    async def end(self, attempt: int = 1, kept: Sequence[bytes] = (), *, last: bool = True) -> None:
        sha256 = (await self.files.keep(pieces(kept))).sha256 if kept else None
        self.spans[attempt] = self.spans[attempt]._replace(until_ms=self.world.clock.now_ms(), sha256=sha256)
        self.ended = last
        if last:
            self.ending.set_result(None)

    async def say(self, *lines: bytes, execution: str = ID) -> None:
        await self.log.send(LANE, [Outgoing(execution.encode(), b"".join(lines))])

    def reading(self, wanted: Wanted | None = None) -> LogReading:
        return LogReading(self.log, self.files, self.world.clock.now_ms, ID, self._look, wanted or Wanted())

    def follow(self, wanted: Wanted | None = None) -> AsyncIterator[str]:
        pieces = self.reading(wanted).follow(self.ending, self.stopping)
        return (each.line.text async for piece in pieces for each in piece)

    async def now(self, wanted: Wanted | None = None) -> list[str]:
        return [each.line.text async for piece in self.reading(wanted).now() for each in piece]

    async def _look(self) -> Known:
        return Known(self.ended, [self.spans[attempt] for attempt in sorted(self.spans)])


async def pieces(lines: Sequence[bytes]) -> AsyncIterator[bytes]:
    """Cut where it is inconvenient."""
    whole = b"".join(lines)
    for start in range(0, len(whole), 17):
        yield whole[start : start + 17]


async def take(followed: AsyncIterator[str], count: int) -> list[str]:
    return [await anext(followed) for _ in range(count)]


def on_scene(scenario: Callable[[Scene], Coroutine[None, None, None]]) -> None:
    async def play(world: World) -> None:
        async with asyncio.timeout(KEPT_MS):
            await scenario(Scene(world))

    loop = VirtualLoop(random.randrange(1_000))
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(play(virtual_world(loop, 1)))


def test_what_is_kept_is_read_whole_in_the_order_of_attempts() -> None:
    async def scenario(scene: Scene) -> None:
        for attempt in (1, 2):
            scene.begin(attempt)
            await scene.end(attempt, [line(1, attempt), line(2, attempt)], last=attempt == 2)
        assert await scene.now() == ["1.1", "1.2", "2.1", "2.2"]
        assert [text async for text in scene.follow()] == ["1.1", "1.2", "2.1", "2.2"]

    on_scene(scenario)


@pytest.mark.parametrize(
    ("wanted", "texts"),
    [
        (Wanted(attempt=2), ["2.1", "2.2"]),
        (Wanted(attempt=3), []),
        (Wanted(step="load"), ["1.2", "2.2"]),
        (Wanted((1, 1)), ["1.2", "2.1", "2.2"]),
        (Wanted((2, 1)), ["2.2"]),
    ],
)
def test_some_of_it_can_be_asked_for(wanted: Wanted, texts: list[str]) -> None:
    async def scenario(scene: Scene) -> None:
        for attempt in (1, 2):
            scene.begin(attempt)
            await scene.end(attempt, [line(1, attempt), line(2, attempt, "load")], last=attempt == 2)
        assert await scene.now(wanted) == texts

    on_scene(scenario)


def test_of_an_attempt_that_kept_nothing_the_topic_is_read() -> None:
    async def scenario(scene: Scene) -> None:
        scene.begin()
        await scene.say(line(1), line(2))
        await scene.say(line(7), execution=OTHER)
        await scene.say(b"rubbish\n", line(3))
        await scene.end(last=False)
        scene.begin(2)
        await scene.say(line(1, 2))
        assert await scene.now() == ["1.1", "1.2", "1.3", "2.1"], "one that still runs is read as far as it is"

    on_scene(scenario)


def test_what_is_older_than_the_topic_is_not_looked_for() -> None:
    async def scenario(scene: Scene) -> None:
        scene.begin()
        await scene.say(line(1))
        await scene.end()
        assert await scene.now() == ["1.1"]
        await asyncio.sleep(KEPT_MS / 1_000 + 1)
        assert await scene.now() == []

    on_scene(scenario)


def test_followers_get_what_there_is_and_what_comes_each_once() -> None:
    async def scenario(scene: Scene) -> None:
        scene.begin()
        await scene.say(line(1))
        followed = scene.follow()
        assert await take(followed, 1) == ["1.1"]
        await scene.say(line(2), line(3))
        assert await take(followed, 2) == ["1.2", "1.3"]
        await scene.end(kept=[line(number) for number in range(1, 6)])
        assert [text async for text in followed] == ["1.4", "1.5"], "the last ones never reached the topic"

    on_scene(scenario)


def test_a_follower_that_comes_before_the_first_attempt_waits_for_it() -> None:
    async def scenario(scene: Scene) -> None:
        followed = scene.follow()
        first = asyncio.ensure_future(anext(followed))
        await asyncio.sleep(5)
        scene.begin()
        await scene.say(line(1))
        assert await first == "1.1"
        await scene.end()
        assert [text async for text in followed] == []

    on_scene(scenario)


def test_before_the_next_attempt_the_rest_of_the_last_one_is_told() -> None:
    async def scenario(scene: Scene) -> None:
        scene.begin()
        followed = scene.follow()
        await scene.say(line(1))
        assert await take(followed, 1) == ["1.1"]
        await scene.end(kept=[line(1), line(2)], last=False)
        scene.begin(2)
        await scene.say(line(1, 2))
        assert await take(followed, 2) == ["1.2", "2.1"]

    on_scene(scenario)


def test_where_nothing_comes_a_follower_hears_that_it_is_still_there() -> None:
    async def scenario(scene: Scene) -> None:
        scene.begin()
        pieces = scene.reading().follow(scene.ending, scene.stopping)
        assert await anext(pieces) == []
        scene.stopping.set()
        assert [piece async for piece in pieces if piece] == []

    on_scene(scenario)
