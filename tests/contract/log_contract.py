"""What every log must do, whoever keeps it: the same tests run against memory and against a real broker.

A subclass brings the `log` fixture, and the two things that no client of a log can do: `write_bare` writes a record as
a stranger would, `forget` deletes old records as retention does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Any

import pytest

from execution_ledger.errors import BadRequest, Fenced, LogTruncated, OutcomeUnknown, TopicContract
from execution_ledger.log.bounds import RECORD_BYTES_MAX
from execution_ledger.log.protocol import Ends, Lane, Log, Outgoing, Reader, Record, Topic

SHARDS = 3
EVENTS = Lane(Topic.EVENTS, 1)
COMMANDS = Lane(Topic.COMMANDS, 1)
REPORTS = Lane(Topic.REPORTS, 2)
SOON_S = 10.0
MOMENT_S = 0.05


def outgoing(*values: str) -> list[Outgoing]:
    return [Outgoing(key=b"subject", value=value.encode()) for value in values]


def values_of(records: Sequence[Record]) -> list[str]:
    return [record.value.decode() if record.value is not None else "" for record in records]


async def read_to(reader: Reader, lane: Lane, end: int) -> list[Record]:
    """Everything of one lane until its position is at least `end`."""
    records: list[Record] = []
    async with asyncio.timeout(SOON_S):
        while True:
            chunk = (await reader.read(1.0)).get(lane)
            if chunk:
                records += chunk.records
                if chunk.position >= end:
                    return records


async def read_all(log: Log, lane: Lane, start: int = 0) -> list[Record]:
    end = await log.end(lane)
    if end == start:
        return []
    async with log.reader({lane: start}) as reader:
        return await read_to(reader, lane, end)


async def history(log: Log, shard: int = EVENTS.partition) -> list[Record]:
    """All that the next owner of a shard finds there."""
    async with log.take_over(shard) as owner, log.reader({Lane(Topic.EVENTS, shard): 0}) as reader:
        return await read_to(reader, Lane(Topic.EVENTS, shard), owner.end) if owner.end else []


class LogContract:
    @pytest.fixture
    def log(self) -> Any:
        raise NotImplementedError

    async def write_bare(self, log: Log, lane: Lane, key: bytes | None, value: bytes | None) -> None:
        raise NotImplementedError

    async def forget(self, log: Log, lane: Lane, before: int) -> None:
        raise NotImplementedError

    async def test_it_knows_its_shards(self, log: Log) -> None:
        assert await log.shards() == SHARDS

    async def test_a_lane_that_does_not_exist_is_refused_by_name(self, log: Log) -> None:
        missing = Lane(Topic.COMMANDS, SHARDS)
        with pytest.raises(TopicContract, match=f"{SHARDS}"):
            await log.send(missing, outgoing("lost"))
        with pytest.raises(TopicContract):
            await log.end(missing)
        with pytest.raises(TopicContract):
            await log.reader({missing: 0}).__aenter__()
        with pytest.raises(TopicContract):
            await log.take_over(SHARDS).__aenter__()

    # Appending and reading

    async def test_what_was_appended_is_read_in_order(self, log: Log) -> None:
        async with log.take_over(EVENTS.partition) as writer:
            newest = [await writer.append(outgoing("a", "b")), await writer.append(outgoing("c"))]
        records = await history(log)
        assert values_of(records) == ["a", "b", "c"]
        assert newest == [records[1].offset, records[2].offset]
        assert {record.lane for record in records} == {EVENTS}
        assert {record.key for record in records} == {b"subject"}

    async def test_appended_records_are_seen_all_at_once(self, log: Log) -> None:
        async with log.take_over(EVENTS.partition) as writer, log.reader({EVENTS: 0}) as reader:
            await writer.append(outgoing("a", "b", "c"))
            async with asyncio.timeout(SOON_S):
                chunks = await reader.read(SOON_S)
        assert values_of(chunks[EVENTS].records) == ["a", "b", "c"]

    async def test_a_position_passes_markers_and_can_be_resumed_from(self, log: Log) -> None:
        async with log.take_over(EVENTS.partition) as writer:
            await writer.append(outgoing("a"))
            await writer.append(outgoing("b"))
        async with log.take_over(EVENTS.partition) as writer:
            before = await read_all(log, EVENTS)
            assert writer.end > before[-1].offset + 1, "a commit leaves a marker behind it"
            assert before[1].offset > before[0].offset + 1
            await writer.append(outgoing("c"))
            async with log.reader({EVENTS: writer.end}) as reader:
                chunk = (await reader.read(SOON_S))[EVENTS]
        assert values_of(chunk.records) == ["c"]

    async def test_reading_from_the_middle_begins_at_that_record(self, log: Log) -> None:
        offsets = await log.send(COMMANDS, outgoing("a", "b", "c"))
        assert values_of(await read_all(log, COMMANDS, offsets[1])) == ["b", "c"]

    async def test_a_position_between_records_begins_at_the_next_one(self, log: Log) -> None:
        async with log.take_over(EVENTS.partition) as writer:
            await writer.append(outgoing("a"))
            await writer.append(outgoing("b"))
        first = (await history(log))[0]
        async with log.reader({EVENTS: first.offset + 1}) as reader:
            assert values_of((await reader.read(SOON_S))[EVENTS].records) == ["b"]

    async def test_a_reader_knows_where_its_lane_ended_at_the_last_answer(self, log: Log) -> None:
        await log.send(COMMANDS, outgoing("a"))
        async with log.take_over(EVENTS.partition) as owner, log.reader({EVENTS: 0}) as reader:
            await owner.append(outgoing("b", "c"))
            await read_to(reader, EVENTS, await log.end(EVENTS))
            end = await log.end(EVENTS)
            assert reader.ends() == {EVENTS: Ends(end, end)}

    async def test_one_reader_reads_several_lanes(self, log: Log) -> None:
        await log.send(COMMANDS, outgoing("c1", "c2"))
        await log.send(REPORTS, outgoing("r1"))
        async with log.take_over(EVENTS.partition) as writer:
            await writer.append(outgoing("e1"))
        seen: dict[Lane, list[str]] = {COMMANDS: [], REPORTS: [], EVENTS: []}
        async with log.reader(dict.fromkeys(seen, 0)) as reader, asyncio.timeout(SOON_S):
            while sum(map(len, seen.values())) < 4:
                for lane, chunk in (await reader.read(1.0)).items():
                    seen[lane] += values_of(chunk.records)
        assert seen == {COMMANDS: ["c1", "c2"], REPORTS: ["r1"], EVENTS: ["e1"]}

    async def test_an_empty_lane_gives_nothing_after_the_wait(self, log: Log) -> None:
        async with log.reader({COMMANDS: 0}) as reader:
            assert await reader.read(MOMENT_S) == {}
            assert await reader.read(0) == {}

    async def test_a_reader_of_no_lane_waits_too(self, log: Log) -> None:
        async with log.reader({}) as reader:
            assert await reader.read(MOMENT_S) == {}

    async def test_a_waiting_reader_is_woken_by_a_send(self, log: Log) -> None:
        async with log.reader({COMMANDS: 0}) as reader:
            reading = asyncio.create_task(reader.read(SOON_S * 10))
            assert await reader_waits(reading)
            await log.send(COMMANDS, outgoing("a"))
            async with asyncio.timeout(SOON_S):
                chunks = await reading
        assert values_of(chunks[COMMANDS].records) == ["a"]

    async def test_a_waiting_reader_is_woken_by_an_append(self, log: Log) -> None:
        async with log.take_over(EVENTS.partition) as writer, log.reader({EVENTS: writer.end}) as reader:
            reading = asyncio.create_task(reader.read(SOON_S * 10))
            assert await reader_waits(reading)
            await writer.append(outgoing("a"))
            async with asyncio.timeout(SOON_S):
                chunks = await reading
        assert values_of(chunks[EVENTS].records) == ["a"]

    async def test_a_cancelled_read_loses_nothing(self, log: Log) -> None:
        async with log.reader({COMMANDS: 0}) as reader:
            seen: list[Record] = []
            for number in range(20):
                reading = asyncio.create_task(reader.read(SOON_S))
                await log.send(COMMANDS, outgoing(str(number)))
                reading.cancel()
                await asyncio.wait({reading})
                if not reading.cancelled():
                    seen += reading.result()[COMMANDS].records
            end = await log.end(COMMANDS)
            if not seen or seen[-1].offset + 1 < end:
                seen += await read_to(reader, COMMANDS, end)
        assert values_of(seen) == [str(number) for number in range(20)]

    async def test_null_keys_and_values_of_a_stranger_can_be_read(self, log: Log) -> None:
        await self.write_bare(log, COMMANDS, b"key", None)
        await self.write_bare(log, COMMANDS, None, b"value")
        records = await read_all(log, COMMANDS)
        assert [(record.key, record.value) for record in records] == [(b"key", None), (None, b"value")]

    # Taking a shard over

    async def test_a_taken_over_writer_is_fenced_and_writes_nothing_visible(self, log: Log) -> None:
        async with log.take_over(EVENTS.partition) as old:
            await old.append(outgoing("old"))
            async with log.take_over(EVENTS.partition) as new:
                with pytest.raises(Fenced):
                    await old.append(outgoing("zombie"))
                await new.append(outgoing("new"))
                with pytest.raises(Fenced):
                    await old.append(outgoing("zombie"))
        assert values_of(await history(log)) == ["old", "new"]

    async def test_a_take_over_in_the_middle_of_an_append_gives_all_of_it_or_nothing(self, log: Log) -> None:
        async with log.take_over(EVENTS.partition) as old:
            zombie = asyncio.create_task(old.append(outgoing("a", "b")))
            async with log.take_over(EVENTS.partition) as new:
                decided = values_of(await read_all(log, EVENTS)) if new.end else []
                await new.append(outgoing("new"))
                [outcome] = await asyncio.gather(zombie, return_exceptions=True)
        assert decided in ([], ["a", "b"])
        assert isinstance(outcome, int | Fenced | OutcomeUnknown)
        assert values_of(await history(log)) == [*decided, "new"]
        assert not isinstance(outcome, int) or decided == ["a", "b"], "what was acknowledged is there"

    async def test_the_end_of_a_take_over_includes_all_that_was_committed(self, log: Log) -> None:
        async with log.take_over(EVENTS.partition) as first:
            assert first.end == 0
            assert first.shard == EVENTS.partition
            await first.append(outgoing("a"))
            await first.append(outgoing("b"))
            async with log.take_over(EVENTS.partition) as second, log.reader({EVENTS: 0}) as reader:
                assert values_of(await read_to(reader, EVENTS, second.end)) == ["a", "b"]
                assert second.end == await log.end(EVENTS)

    async def test_shards_are_taken_over_one_by_one(self, log: Log) -> None:
        async with log.take_over(0) as zero, log.take_over(1) as one:
            await asyncio.gather(zero.append(outgoing("zero")), one.append(outgoing("one")))
            async with log.take_over(0):
                await one.append(outgoing("still one"))
        assert values_of(await history(log, 1)) == ["one", "still one"]

    async def test_a_writer_that_was_let_go_writes_no_more(self, log: Log) -> None:
        async with log.take_over(EVENTS.partition) as writer:
            pass
        with pytest.raises(Fenced):
            await writer.append(outgoing("late"))

    async def test_a_cancelled_append_leaves_the_writer_unusable(self, log: Log) -> None:
        async with log.take_over(EVENTS.partition) as writer:
            appending = asyncio.create_task(writer.append(outgoing("a")))
            await asyncio.sleep(0)
            appending.cancel()
            await asyncio.wait({appending})
            assert appending.cancelled()
            with pytest.raises(OutcomeUnknown):
                await writer.append(outgoing("b"))
        async with log.take_over(EVENTS.partition) as writer:
            await writer.append(outgoing("c"))
        assert values_of(await history(log)) in (["c"], ["a", "c"])

    async def test_a_big_batch_is_all_or_nothing(self, log: Log) -> None:
        batch = [Outgoing(b"subject", b"x" * 500) for _ in range(1_000)]
        async with log.take_over(EVENTS.partition) as old:
            zombie = asyncio.create_task(old.append(batch))
            counts = [len(await history(log)) for _ in range(3)]
            [outcome] = await asyncio.gather(zombie, return_exceptions=True)
        assert set(counts) <= {0, 1_000}
        assert counts == sorted(counts), "what was seen stays"
        async with log.take_over(EVENTS.partition) as writer:
            await writer.append(batch)
        assert len(await history(log)) == 1_000 + (counts[-1] if outcome else 1_000)

    async def test_a_batch_of_many_megabytes_is_written_whole(self, log: Log) -> None:
        batch = [Outgoing(b"subject", bytes([number]) * 300_000) for number in range(10)]
        async with log.take_over(EVENTS.partition) as writer:
            await writer.append(batch)
        assert [(record.value or b"")[:1] for record in await history(log)] == [bytes([n]) for n in range(10)]

    async def test_an_oversized_record_is_refused_and_the_writer_goes_on(self, log: Log) -> None:
        oversized = Outgoing(b"subject", b"x" * RECORD_BYTES_MAX)
        async with log.take_over(EVENTS.partition) as writer:
            with pytest.raises(BadRequest, match="bytes"):
                await writer.append([*outgoing("a"), oversized])
            await writer.append(outgoing("b"))
        assert values_of(await history(log)) == ["b"]
        with pytest.raises(BadRequest, match="bytes"):
            await log.send(COMMANDS, [oversized])
        assert await log.end(COMMANDS) == 0

    async def test_the_largest_record_is_taken(self, log: Log) -> None:
        largest = Outgoing(b"subject", b"x" * (RECORD_BYTES_MAX - 100))
        async with log.take_over(EVENTS.partition) as writer:
            await writer.append([largest])
        assert len((await history(log))[0].value or b"") == RECORD_BYTES_MAX - 100

    async def test_an_empty_batch_is_nothing(self, log: Log) -> None:
        async with log.take_over(EVENTS.partition) as writer:
            await writer.append([])
        assert await log.send(COMMANDS, []) == []
        assert (await log.end(EVENTS), await log.end(COMMANDS)) == (0, 0)

    # Sending

    async def test_send_answers_with_dense_offsets_and_keeps_order(self, log: Log) -> None:
        first = await log.send(COMMANDS, outgoing("a", "b", "c"))
        second = await log.send(COMMANDS, outgoing("d"))
        third = await log.send(COMMANDS, outgoing("e", "f"))
        assert [*first, *second, *third] == list(range(6))
        records = await read_all(log, COMMANDS)
        assert values_of(records) == ["a", "b", "c", "d", "e", "f"]
        assert [record.offset for record in records] == list(range(6))

    async def test_concurrent_sends_each_get_their_own_offset(self, log: Log) -> None:
        batches = [[str(number)] if number % 3 else [f"{number}", f"{number}+"] for number in range(100)]
        offsets = await asyncio.gather(*(log.send(COMMANDS, outgoing(*batch)) for batch in batches))
        told = dict(zip(chain(*offsets), chain(*batches), strict=True))
        found = {record.offset: value for record, value in pairs(await read_all(log, COMMANDS))}
        assert told == found
        assert sorted(found) == list(range(sum(map(len, batches))))

    async def test_a_cancelled_send_does_not_disturb_the_others(self, log: Log) -> None:
        cancelled = asyncio.create_task(log.send(COMMANDS, outgoing("a")))
        other = asyncio.create_task(log.send(COMMANDS, outgoing("b")))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait({cancelled, other})
        assert len(other.result()) == 1
        await log.send(COMMANDS, outgoing("c"))
        seen = values_of(await read_all(log, COMMANDS))
        assert [value for value in seen if value != "a"] == ["b", "c"]

    async def test_append_times_never_decrease(self, log: Log) -> None:
        for number in range(5):
            await log.send(COMMANDS, outgoing(str(number)))
        times = [record.time_ms for record in await read_all(log, COMMANDS)]
        assert all(earlier <= later for earlier, later in pairwise(times))
        assert times[0] > 0

    # Positions

    async def test_begin_and_end(self, log: Log) -> None:
        assert (await log.begin(COMMANDS), await log.end(COMMANDS)) == (0, 0)
        await log.send(COMMANDS, outgoing("a", "b"))
        assert (await log.begin(COMMANDS), await log.end(COMMANDS)) == (0, 2)

    async def test_position_at_a_time(self, log: Log) -> None:
        assert await log.position_at(COMMANDS, 0) == 0
        await log.send(COMMANDS, outgoing("a"))
        await log.send(COMMANDS, outgoing("b"))
        times = [record.time_ms for record in await read_all(log, COMMANDS)]
        assert await log.position_at(COMMANDS, 0) == 0
        assert await log.position_at(COMMANDS, times[0]) == 0
        assert await log.position_at(COMMANDS, times[1]) == times.index(times[1])
        assert await log.position_at(COMMANDS, times[1] + 1) == 2

    async def test_a_position_that_retention_has_passed_is_an_error(self, log: Log) -> None:
        await log.send(COMMANDS, outgoing("a", "b", "c"))
        await self.forget(log, COMMANDS, 2)
        assert await log.begin(COMMANDS) == 2
        assert values_of(await read_all(log, COMMANDS, 2)) == ["c"]
        async with log.reader({COMMANDS: 1}) as reader:
            with pytest.raises(LogTruncated, match="holds 2 to 3"):
                await reader.read(SOON_S)

    async def test_a_position_beyond_the_end_is_an_error(self, log: Log) -> None:
        await log.send(COMMANDS, outgoing("a"))
        async with log.reader({COMMANDS: 100}) as reader:
            with pytest.raises(LogTruncated, match="holds 0 to 1"):
                await reader.read(SOON_S)
            with pytest.raises(LogTruncated):
                await reader.read(SOON_S)


def pairs(records: Sequence[Record]) -> list[tuple[Record, str]]:
    return list(zip(records, values_of(records), strict=True))


async def reader_waits(reading: asyncio.Task[object]) -> bool:
    """Lets the read get to its wait; true while it is there."""
    for _ in range(10):
        await asyncio.sleep(0)
    return not reading.done()
