"""The simulator's own parts: lives that stand still, transactions that go wrong, plans that shrink."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from rpds import HashTrieMap

from execution_ledger.dispatcher.keeping import Keeping
from execution_ledger.dispatcher.service import DispatcherService
from execution_ledger.errors import Fenced, LedgerError, OutcomeUnknown, UnknownVersion
from execution_ledger.gateway.writes.again import Ended
from execution_ledger.ledger.keeping import LAYOUT
from execution_ledger.ledger.shard import initial
from execution_ledger.log.protocol import Lane, Outgoing, Record, Topic
from execution_ledger.messages.events import Event, decode_event
from execution_ledger.messages.parts import Status
from execution_ledger.settings import LedgerSettings
from execution_ledger.snapshots import form
from execution_ledger.trials.simulate import callers
from execution_ledger.trials.simulate import run as simulated
from execution_ledger.trials.simulate.believed import check_snapshots
from execution_ledger.trials.simulate.faults import Troubles
from execution_ledger.trials.simulate.log import SimulatedLog
from execution_ledger.trials.simulate.loop import Life, VirtualClock, VirtualLoop
from execution_ledger.trials.simulate.objects import SimulatedObjects, in_order
from execution_ledger.trials.simulate.plan import Ask, Fault, Plan, draw
from execution_ledger.trials.simulate.run import Result
from execution_ledger.trials.simulate.shrink import shrink
from execution_ledger.verify.findings import Breach

EVENTS = Lane(Topic.EVENTS, 1)
COMMANDS = Lane(Topic.COMMANDS, 1)
THREE = [Outgoing(b"k", value) for value in (b"1", b"2", b"3")]
ALWAYS = 1.0


def play(scenario: Callable[[SimulatedLog], Awaitable[None]]) -> None:
    loop = VirtualLoop(1)

    async def on_a_log() -> None:
        chance = random.Random(1)
        await scenario(SimulatedLog(2, 1, VirtualClock(loop), Troubles(chance), chance))

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(on_a_log())


def trouble(log: SimulatedLog, kind: str, target: str) -> Fault:
    fault = Fault(at_s=0, kind=kind, target=target, amount=ALWAYS)
    log.troubles.begin(fault)
    return fault


async def values(log: SimulatedLog, lane: Lane = EVENTS) -> list[bytes | None]:
    """What is seen when all that is late has landed."""
    await asyncio.sleep(30)
    async with log.reader({lane: 0}) as reader:
        chunk = (await reader.read(1)).get(lane)
        return [record.value for record in chunk.records] if chunk else []


async def append_in_doubt(log: SimulatedLog, kind: str) -> None:
    """One append while this goes wrong; its outcome is unknown."""
    async with log.take_over(1) as writer:
        fault = trouble(log, kind, "events")
        with pytest.raises(OutcomeUnknown):
            await writer.append(THREE)
        log.troubles.end(fault)


def test_a_life_that_stands_still_gets_no_turns_until_it_goes_on() -> None:
    loop, turns = VirtualLoop(1), list[float]()

    async def work() -> None:
        while True:
            turns.append(loop.time())
            await asyncio.sleep(1)

    async def scenario() -> None:
        life = Life("one")
        task = loop.create_task(work(), context=life.context)
        await asyncio.sleep(2.5)
        life.still = True
        await asyncio.sleep(10)
        assert len(turns) == 3
        loop.go_on(life)
        await asyncio.sleep(0.5)
        assert turns[3:] == [12.5]
        task.cancel()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(scenario())


@pytest.mark.parametrize(
    ("kind", "seen"),
    [("lose_request", []), ("part_fails", []), ("prepared", [b"1", b"2", b"3"]), ("lose_answer", [b"1", b"2", b"3"])],
)
def test_a_transaction_in_doubt_is_there_whole_or_not_at_all(kind: str, seen: list[bytes]) -> None:
    async def scenario(log: SimulatedLog) -> None:
        await append_in_doubt(log, kind)
        assert await values(log) == seen

    play(scenario)


def test_a_take_over_resolves_what_was_left_open_and_a_late_commit_of_it_changes_nothing() -> None:
    async def scenario(log: SimulatedLog) -> None:
        await append_in_doubt(log, "late_request")
        async with log.take_over(1) as writer:
            await writer.append([Outgoing(b"k", b"mine")])
        assert (await values(log))[-1] == b"mine"
        assert await values(log) in ([b"mine"], [b"1", b"2", b"3", b"mine"])

    play(scenario)


def test_whoever_is_fenced_writes_nothing_also_where_epochs_have_begun_anew() -> None:
    async def scenario(log: SimulatedLog) -> None:
        async with log.take_over(1) as old, log.take_over(1):
            with pytest.raises(Fenced):
                await old.append(THREE)
        async with log.take_over(1) as old:
            log.forget_ids()
            async with log.take_over(1) as new:
                with pytest.raises(LedgerError):
                    await old.append(THREE)
                await new.append([Outgoing(b"k", b"new")])
        assert await values(log) == [b"new"]

    play(scenario)


def test_a_write_may_land_twice_and_late() -> None:
    async def scenario(log: SimulatedLog) -> None:
        fault = trouble(log, "double", "commands")
        await log.send(COMMANDS, THREE[:1])
        log.troubles.end(fault)
        await log.send(COMMANDS, THREE[1:2])
        assert Counter(await values(log, COMMANDS)) == {b"1": 2, b"2": 1}

    play(scenario)


def test_one_lane_alone_can_be_hidden_from_one_reader() -> None:
    async def scenario(log: SimulatedLog) -> None:
        log.troubles.begin(Fault(at_s=0, kind="miss", target="gateway-a commands/1"))
        life, reports = Life("gateway-a"), Lane(Topic.REPORTS, 1)
        for lane in (COMMANDS, reports):
            await log.send(lane, THREE[:1])

        async def read() -> set[Lane]:
            async with log.reader({COMMANDS: 0, reports: 0}) as reader:
                return {lane for lane, chunk in (await reader.read(1)).items() if chunk.records}

        assert await asyncio.create_task(read(), context=life.context) == {reports}
        assert await read() == {COMMANDS, reports}

    play(scenario)


# --- snapshots and releases ---------------------------------------------------------------------------------------

SUBMITS = [Ask(at_s=5 + at, number=at, does="submit", manner="fail", retries=2, seconds=2) for at in range(9)]


def test_a_snapshot_that_is_not_the_fold_up_to_its_marks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(seed=1, snapshots=True, faults=[], asks=SUBMITS)
    assert simulated.run(plan).breaches == []

    def follow(keeping: Keeping, event: Event, record: Record) -> None:
        keeping._newest.setdefault(event.shard, (event, record))  # so its marks stay where they were
        keeping._events += 1

    monkeypatch.setattr(Keeping, "follow", follow)
    assert simulated.run(plan).promises == {7}


def test_what_nobody_would_believe_is_passed_over() -> None:
    async def scenario(log: SimulatedLog) -> None:
        chance = random.Random(1)
        objects = SimulatedObjects(Troubles(chance), chance, moment)
        assert not objects.damage()
        await objects.put("snapshots/log/ledger-1/3-f", pieces())
        assert objects.damage()
        assert [len(whole) for _, whole in objects.shown] == [9, 9]
        assert await check_snapshots(log, objects, LedgerSettings()) == []
        assert objects.believed == 0

    async def moment(moment: str, where: str) -> None:
        """No fault waits."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"[1, 2, 3]"

    play(scenario)


@pytest.mark.parametrize("name", ["ledger-a", "dispatcher-a", "projector-a", "gateway-a"])
def test_who_is_behind_stops_until_it_is_upgraded_and_all_ends(name: str) -> None:
    faults = [Fault(at_s=8, kind="behind", target=name, for_s=6)]
    faults += [Fault(at_s=1, kind="kill", target=name.replace("-a", "-b"), for_s=15)]
    result = simulated.run(Plan(seed=1, snapshots=True, faults=faults, asks=SUBMITS))
    assert result.tally["fault: behind"] > 0
    assert result.breaches == []


def test_a_dispatcher_that_skips_what_it_does_not_know_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def skipping(service: DispatcherService, record: Record) -> None:
        with suppress(UnknownVersion):
            real(service, record)

    real = DispatcherService._event
    monkeypatch.setattr(DispatcherService, "_event", skipping)
    faults = [Fault(at_s=8, kind="behind", target=f"dispatcher-{which}", for_s=10) for which in "ab"]
    assert simulated.run(Plan(seed=1, snapshots=True, faults=faults, asks=SUBMITS)).promises


# --- retries and reruns -------------------------------------------------------------------------------------------

AGAIN = [
    Ask(at_s=6, number=0, does="submit", manner="never", seconds=2),
    Ask(at_s=12, number=1, does="retry", of=0),
    Ask(at_s=13, number=2, does="repeat", of=1),
    Ask(at_s=18, number=3, does="rerun", of=1, seconds=1),
    Ask(at_s=18.5, number=4, does="retry", of=3),
]


def test_what_has_ended_is_run_again_once_for_each_key_and_what_has_not_is_refused() -> None:
    result = simulated.run(Plan(seed=1, faults=[], asks=AGAIN))
    assert result.breaches == []
    told = {word: result.tally[word] for word in ("link: retry", "link: rerun", "answer: retry failed")}
    assert told == {"link: retry": 1, "link: rerun": 1, "answer: retry failed": 1}
    assert result.tally["answer: repeat ok"] == 1


MANY = [
    Ask(at_s=6, number=0, does="batch", manner="fail", count=3),
    Ask(at_s=14, number=1, does="retry_failed"),
    Ask(at_s=15, number=2, does="repeat", of=1),
    Ask(at_s=16, number=3, does="repeat", of=1, changed=True),
    Ask(at_s=20, number=4, does="submit", pipeline="stepped", manner="fail"),
    Ask(at_s=30, number=5, does="job", action="rerun", from_failed=True, count=4),
]


def test_the_failed_of_a_batch_are_retried_once_and_a_job_reruns_from_the_failed_steps() -> None:
    result = simulated.run(Plan(seed=1, faults=[], asks=MANY))
    assert result.breaches == []
    words = ("answer: retry_failed ok", "answer: repeat ok", "answer: repeat failed", "batch: retried", "job: declined")
    assert [result.tally[word] for word in words] == [1, 1, 1, 3, 3]
    assert result.tally["job: rerun from the failed step"] == 1


def test_a_retry_of_what_has_not_ended_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def hasty(row: Mapping[str, Any]) -> Ended:
        return Ended(str(row["id"]), row["name"], Status.FAILED, decode_event(row["event"]).data)

    monkeypatch.setattr(callers, "ended_of", hasty)
    assert simulated.run(Plan(seed=1, faults=[], asks=AGAIN)).promises == {3}


# --- plans ------------------------------------------------------------------------------------------------------


def result(plan: Plan, *promises: int) -> Result:
    breaches = [Breach(promise, 0, None, None, "") for promise in promises]
    return Result(plan, breaches, 0, 0, 0.0, 0.0, 0.0, [])


def test_a_plan_follows_from_its_seed_and_survives_its_file() -> None:
    plan = draw(11, 60)
    assert draw(11, 60) == plan
    assert plan.steps == 60
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    assert draw(12, 60) != plan


def test_shrinking_leaves_what_breaks_the_same_promise() -> None:
    whole = draw(11, 60)
    guilty = whole.faults[3], whole.asks[5]

    def played(plan: Plan) -> Result:
        breaks = guilty[0] in plan.faults and guilty[1] in plan.asks
        return result(plan, 6) if breaks else result(plan, 2)

    small = shrink(result(whole, 6), played, tries_max=500)
    assert (small.plan.faults, small.plan.asks) == ([guilty[0]], [guilty[1]])


def test_shrinking_has_an_end() -> None:
    tries = 0

    def played(plan: Plan) -> Result:
        nonlocal tries
        tries += 1
        return replace(result(plan, 2))

    shrink(result(draw(11, 60), 6), played, tries_max=10)
    assert tries == 10


def test_equal_states_are_written_as_equal_bytes_in_a_run() -> None:
    """Tries have an order of their own each time, and damage hits a place."""

    async def written() -> bytes:
        state = replace(initial(1, 2, LedgerSettings()), business=HashTrieMap({f"k{n}": ("v",) for n in range(50)}))
        return b"".join([piece async for piece in form.write(form.Head("f", "l", 2), LAYOUT, state)])

    with in_order():
        assert len({asyncio.run(written()) for _ in range(5)}) == 1
    assert len({asyncio.run(written()) for _ in range(5)}) > 1, "there is nothing to be ordered"
