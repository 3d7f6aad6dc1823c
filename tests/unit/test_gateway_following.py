"""Streams: resumed anywhere without loss or repeat, from the ring where it reaches back, else from the journal."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from execution_ledger.errors import BrokenHistory, Stalled
from execution_ledger.gateway.gateway import Gateway
from execution_ledger.gateway.stream import ring as rings
from execution_ledger.gateway.stream.following import KEEP_ALIVE_S, Follower
from execution_ledger.gateway.stream.ring import Frame, Ring
from execution_ledger.gateway.stream.tail import Tail
from execution_ledger.gateway.writes.requests import AbortRequest
from execution_ledger.lifecycle import end_tasks
from execution_ledger.log.memory import MemoryLog
from execution_ledger.log.protocol import Chunk, Ends, Lane, Outgoing, Reader, Topic
from execution_ledger.messages.events import encode_event
from execution_ledger.messages.ids import shard_of
from execution_ledger.messages.position import Position, covers, parse_position, position_text
from execution_ledger.settings import Settings
from unit.gateway_stage import SHARDS, Stage, on_stage


def gateway_of(stage: Stage) -> Gateway:
    """The stage's tail behind the parts that follow it; there is no Postgres."""
    settings = Settings.model_validate({"gateway": {"token_sha256": "0" * 64}})
    gateway = Gateway(stage.log, stage.world, settings)
    gateway.tail = stage.tail
    return gateway


def follower(stage: Stage, position: str, subject: str | None = None) -> Follower:
    start = parse_position(position)
    shards = range(SHARDS) if subject is None else [shard_of(subject)]
    return Follower(gateway_of(stage), {shard: start.get(shard, 0) for shard in shards}, subject)


async def take(stream: AsyncIterator[bytes], count: int) -> list[dict[str, str]]:
    """The next events of a stream, as a client reads them."""
    found: list[dict[str, str]] = []
    while len(found) < count:
        piece = (await anext(stream)).decode()
        for block in piece.split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
            if "data" in fields:
                found.append(fields)
    return found


def test_a_stream_brings_every_event_once_whenever_it_is_resumed() -> None:
    async def scenario(stage: Stage) -> None:
        for _ in range(5):
            await stage.submit()
        everything = await stage.history()
        stream = follower(stage, "").stream()
        first = await take(stream, 3)
        rest = await take(follower(stage, first[2]["id"]).stream(), len(everything) - 3)
        ids = [json.loads(one["data"])["id"] for one in first[:3] + rest]
        assert sorted(ids) == sorted(event.id for event in everything)

    on_stage(scenario)


def test_an_event_comes_with_its_type_its_own_bytes_and_the_position_behind_it() -> None:
    async def scenario(stage: Stage) -> None:
        here = position_text(stage.tail.position)
        stream = follower(stage, here).stream()
        opening = (await anext(stream)).decode()
        assert f"id: {here}\n" in opening
        answer = await stage.submit()
        lane = Lane(Topic.EVENTS, shard_of(answer.subject))
        written = stage.log.partition(lane).records[-1].value
        [event] = [one for one in await take(stream, 1) if one["data"].encode() == written]
        assert event["event"] == "executionledger.execution.queued.v1"
        assert covers(parse_position(event["id"]), answer.position)

    on_stage(scenario)


def test_a_stream_of_one_execution_holds_nothing_else() -> None:
    async def scenario(stage: Stage) -> None:
        ids = [(await stage.submit()).subject for _ in range(6)]
        stream = follower(stage, "", ids[4]).stream()
        [event] = await take(stream, 1)
        assert json.loads(event["data"])["subject"] == ids[4]
        assert list(parse_position(event["id"])) == [shard_of(ids[4])]

    on_stage(scenario)


def test_what_the_journal_got_while_it_was_asked_does_not_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(stage: Stage) -> None:
        subject = (await stage.submit()).subject
        [queued] = await stage.queued()
        one = follower(stage, "", subject)
        views = one.gateway.views

        async def frames(subject: str, after: int, limit: int) -> list[Frame]:
            """The projector writes the abort down after the position was read."""
            await stage.callers.abort(subject, AbortRequest(), "ada")
            events = [event for event in await stage.history() if event.subject == subject and event.sequence > after]
            return [Frame(event.shard, event.sequence, event.type, subject, encode_event(event)) for event in events]

        async def reach(wanted: Position, wait_s: float) -> None:
            monkeypatch.setattr(views.positions, "_position", {queued.shard: queued.sequence})

        monkeypatch.setattr(views, "subject_frames", frames)
        monkeypatch.setattr(views.positions, "reach", reach)
        stage.tail.rings[queued.shard] = Ring()
        events = await take(one.stream(), 3)
        assert [json.loads(event["data"])["version"] for event in events] == [1, 2, 3]
        assert parse_position(events[-1]["id"]) == one.cursor == {queued.shard: queued.sequence + 2}
        ahead = [frame async for frame in _until_alive(one)]
        assert ahead == []

    async def _until_alive(one: Follower) -> AsyncIterator[bytes]:
        """What still comes before the stream has nothing more to tell."""
        async for piece in one.stream():
            if piece.startswith(b": keep-alive"):
                return
            if b"data: " in piece:
                yield piece

    on_stage(scenario)


def test_a_silent_stream_is_kept_alive() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.stop_ledger()
        here = position_text(stage.tail.position)
        stream = follower(stage, here).stream()
        await anext(stream)
        before = stage.world.clock.monotonic_s()
        assert (await anext(stream)).startswith(b": keep-alive\n")
        assert stage.world.clock.monotonic_s() - before >= KEEP_ALIVE_S

    on_stage(scenario)


def test_where_neither_ring_nor_journal_can_go_on_the_stream_ends_and_says_so() -> None:
    async def scenario(stage: Stage) -> None:
        stage.tail.rings = {shard: Ring() for shard in range(SHARDS)}
        pieces = [piece async for piece in follower(stage, "").stream()]
        assert pieces[-1].startswith(b": this stream ends here")

    on_stage(scenario)


def test_a_stopping_gateway_ends_its_streams() -> None:
    async def scenario(stage: Stage) -> None:
        one = follower(stage, "")
        stream = one.stream()
        await take(stream, len(await stage.history()))
        ended = asyncio.create_task(_rest(stream))
        await asyncio.sleep(0)
        one.gateway.stop()
        assert await ended == 0
        assert one.gateway.following == 0

    async def _rest(stream: AsyncIterator[bytes]) -> int:
        return len([piece async for piece in stream])

    on_stage(scenario)


def frame(sequence: int, size: int = 10) -> Frame:
    return Frame(1, sequence, "t", "s", b"x" * size)


def test_a_ring_is_bounded_by_count_and_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rings, "RING_EVENTS_MAX", 3)
    monkeypatch.setattr(rings, "RING_BYTES_MAX", 50)
    ring = Ring()
    for sequence in range(1, 6):
        ring.add(frame(sequence))
    assert [one.sequence for one in ring.after(2, 10)] == [3, 4, 5]
    assert (ring.covers(2), ring.covers(1)) == (True, False)
    assert [one.sequence for one in ring.after(3, 1)] == [4]
    ring.add(frame(6, size=45))
    assert [one.sequence for one in ring.after(5, 10)] == [6]


def test_a_follower_gets_no_more_at_a_time_than_can_lie_unread_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rings, "PIECE_BYTES_MAX", 25)
    ring = Ring()
    for sequence, size in enumerate((10, 10, 10, 99), start=1):
        ring.add(frame(sequence, size))
    assert [one.sequence for one in ring.after(0, 10)] == [1, 2]
    assert [one.sequence for one in ring.after(2, 10)] == [3]
    assert [one.sequence for one in ring.after(3, 10)] == [4]


class Stalling:
    """A reader of the stage's log that stands still every other time."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._reads = 0

    async def read(self, wait_s: float) -> Mapping[Lane, Chunk]:
        self._reads += 1
        if self._reads % 2 == 0:
            raise Stalled("Nothing came although there was something.")
        return await self._reader.read(wait_s)

    def ends(self) -> Mapping[Lane, Ends]:
        return self._reader.ends()


def test_the_tail_reads_on_where_it_was_after_a_reader_that_stood_still(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(stage: Stage) -> None:
        @asynccontextmanager
        async def reader(positions: Mapping[Lane, int]) -> AsyncIterator[Reader]:
            async with MemoryLog.reader(stage.log, positions) as whole:
                yield Stalling(whole)

        monkeypatch.setattr(stage.log, "reader", reader)
        tail = Tail(stage.log)
        reading = asyncio.create_task(tail.run())
        for _ in range(9):
            await stage.submit()
        async with asyncio.timeout(60):
            while tail.position != stage.tail.position:
                await tail.moved.wait()
        await end_tasks([reading])

    on_stage(scenario)


def test_a_gap_in_a_shard_stops_the_tail() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.submit()
        await stage.stop_ledger()
        async with stage.log.take_over(1) as writer:
            last = stage.log.partition(Lane(Topic.EVENTS, 1)).records[-1].value or b""
            doubled = last.replace(b'"sequence":"000', b'"sequence":"001')
            tail = Tail(stage.log)
            reading = asyncio.create_task(tail.run())
            await tail.caught_up.wait()
            await writer.append([Outgoing(b"k", doubled)])
        with pytest.raises(BrokenHistory, match="missing or doubled"):
            async with asyncio.timeout(60):
                await reading

    on_stage(scenario)


def test_whoever_waits_for_an_end_is_told_its_position() -> None:
    async def scenario(stage: Stage) -> None:
        execution_id = (await stage.submit()).subject
        ending = stage.tail.expect_end(execution_id)
        answer = await stage.callers.abort(execution_id, AbortRequest(), "ada")
        assert await ending == answer.position
        stage.tail.forget_end(execution_id, ending)

    on_stage(scenario)
