"""Commands in their lane, and what clients were told, beside the log."""

from __future__ import annotations

from array import array
from typing import Any

import pytest

from execution_ledger.errors import BadRequest
from execution_ledger.log.memory import MemoryLog
from execution_ledger.log.protocol import Lane, Outgoing, Topic
from execution_ledger.messages.base import Message
from execution_ledger.settings import LedgerSettings
from execution_ledger.verify.answers import Answer, check_answers, read_answers
from execution_ledger.verify.findings import Breach
from execution_ledger.verify.log.shard import ShardCheck, ShardFindings
from execution_ledger.verify.reading import LaneFindings, beyond_its_lanes, check_lane
from unit.spec import NOW_MS, submit
from unit.test_deciding import Ledger, abort, new_id
from unit.verify_stage import ONE, THREE, TWO, lives, stored

FIRST = {"command_id": "submit-1", "execution_id": ONE, "status_code": 201, "number": 4097, "name": "train-401"}
NEWEST = {0: 9, 1: 19, 2: 0, 3: 0}
GOOD = FIRST | {"status": "queued", "position": "1.4"}


def checked(ledger: Ledger, *answers: dict[str, Any], undecided: frozenset[str] = frozenset()) -> list[Breach]:
    read = [Answer(**answer) for answer in answers]
    check = ShardCheck(1, LedgerSettings(), wanted=frozenset(one for answer in read for one in answer.ids))
    for raw, offset in stored(ledger.raw):
        check.feed(raw, offset)
    return list(check_answers(read, check.finish().evidence, undecided, NEWEST))


@pytest.mark.parametrize(
    "answer",
    [
        GOOD,
        GOOD | {"status_code": 200, "status": "completed", "position": "0.1-1.19"},
        {"command_id": "abort-3", "execution_id": THREE, "status_code": 200, "status": "abort_requested"},
        {"command_id": "abort-9", "status_code": 409},
        {"command_id": "submit-3", "status_code": 202},
        {"command_id": "nobody-knows", "status_code": 503},
        {"status_code": 429},
    ],
)
def test_answers_that_the_log_bears_out(answer: dict[str, Any]) -> None:
    assert checked(lives(), answer) == []


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"number": 8193}, "named train-401"),
        ({"name": "train-402"}, "named train-402"),
        ({"status": "failed"}, "called failed"),
        ({"position": "0.9-1.3"}, "does not include"),
        ({"position": "garbage"}, "'garbage' is none"),
        ({"position": "1.20"}, "behind the end of shard 1, 19"),
        ({"position": "1.4-7.1"}, "shard 7, which does not exist"),
        ({"command_id": "abort-9"}, "refused what command abort-9 asked for"),
        ({"command_id": "submit-2"}, f"was about {TWO}"),
        ({"command_id": "never-sent"}, "left no trace"),
        ({"status_code": 409}, "did what command submit-1 asked for"),
    ],
)
def test_an_answer_that_does_not_match_is_named(change: dict[str, Any], what: str) -> None:
    (breach,) = checked(lives(), GOOD | change)
    assert (breach.promise, breach.shard, breach.sequence, breach.execution) == (5, 1, 4, ONE)
    assert what in breach.what


def test_an_execution_that_was_promised_and_is_not_there() -> None:
    (breach,) = checked(lives(), {"execution_id": new_id(8), "status_code": 201})
    assert breach[:4] == (5, 1, None, new_id(8))


def test_one_key_has_one_execution() -> None:
    keyed = GOOD | {"key": "k"}
    other = {"execution_id": TWO, "status_code": 200, "key": "k"}
    assert [breach.execution for breach in checked(lives(), keyed, keyed, other)] == [TWO]


def test_a_key_that_was_used_for_another_body_is_refused_with_right_and_one_that_was_not_is_not() -> None:
    decided = GOOD | {"body": "three slots"}
    other = {"command_id": GOOD["command_id"], "status_code": 422, "body": "four slots"}
    assert checked(lives(), decided, other) == []
    assert [breach.promise for breach in checked(lives(), decided, other | {"body": "three slots"})] == [5]


def test_what_was_received_is_decided_or_waits_in_its_lane() -> None:
    received = {"command_id": "waits", "status_code": 202}
    assert checked(lives(), received, undecided=frozenset({"waits"})) == []
    assert [breach.promise for breach in checked(lives(), received)] == [5]


def test_answers_are_lines_of_json_and_a_wrong_one_is_named() -> None:
    assert read_answers(['{"status_code": 201, "mine": 1}', "", '{"status_code": 503}'])[1].status_code == 503
    with pytest.raises(BadRequest, match="Line 2"):
        read_answers(['{"status_code": 201}', '{"status": "queued"}'])


# --- the lane ---------------------------------------------------------------------------------------------------


async def lane_of(ledger: Ledger, *values: Message | bytes, forget: int = 0) -> LaneFindings:
    log = MemoryLog(4, now_ms=lambda: NOW_MS)
    lane = Lane(Topic.COMMANDS, 1)
    raw = [it if isinstance(it, bytes) else it.model_dump_json().encode() for it in values]
    await log.send(lane, [Outgoing(b"k", value) for value in raw])
    log.forget(lane, forget)
    found = folded(ledger)
    end = await log.end(lane)
    return await check_lane(log, 1, end, found.traces, found.gaps, frozenset({"later"}), lambda _: None)


def folded(ledger: Ledger) -> ShardFindings:
    check = ShardCheck(1, LedgerSettings())
    for raw, offset in stored(ledger.raw):
        check.feed(raw, offset)
    return check.finish()


def small() -> tuple[Ledger, list[Message | bytes]]:
    """A ledger whose first command is its dispatcher's claim, and the rest of its lane."""
    ledger = Ledger()
    rest: list[Message | bytes] = [submit(ONE), b"rubbish", abort(ONE)]
    ledger.do(*rest)
    return ledger, [b'{"command_id":"claim"}', *rest]


async def test_every_command_has_the_trace_under_its_offset() -> None:
    ledger, lane = small()
    found = await lane_of(ledger, *lane, submit(TWO, "later"))
    assert (found.breaches.kept, found.read, found.undecided) == ([], 5, {"later"})


async def test_commands_that_are_no_longer_kept_are_not_asked_for() -> None:
    ledger, lane = small()
    found = await lane_of(ledger, *lane, forget=2)
    assert (found.breaches.kept, found.read) == ([], 2)


@pytest.mark.parametrize("place", [0, 1, 2, 3])
async def test_a_command_that_is_not_its_traces_is_named(place: int) -> None:
    ledger, lane = small()
    lane[place] = submit(TWO, "another")
    (breach,) = (await lane_of(ledger, *lane)).breaches.kept
    assert breach[:2] == (5, 1)
    assert f"Command {place} " in breach.what


async def test_a_gap_in_the_lane_is_no_lost_command_and_a_command_without_a_trace_is_one() -> None:
    """A stranger's transaction leaves a marker, which has an offset and is no record."""
    ledger = Ledger()
    next(ledger._offsets[Topic.COMMANDS])
    ledger.do(submit(ONE))
    log = MemoryLog(4, now_ms=lambda: NOW_MS)
    lane, found = Lane(Topic.COMMANDS, 1), folded(ledger)
    values = [b'{"command_id":"claim"}', b"passed over", submit(ONE).model_dump_json().encode()]
    await log.send(lane, [Outgoing(b"k", value) for value in values])
    assert found.breaches.kept == []

    async def breaches() -> list[Breach]:
        lane_found = await check_lane(log, 1, 3, found.traces, found.gaps, frozenset(), lambda _: None)
        return lane_found.breaches.kept

    (breach,) = await breaches()
    assert breach[:4] == (5, 1, 4, ONE)
    del log.partition(lane).records[1]
    assert await breaches() == []
    log.forget(lane, 2)
    (breach,) = await breaches()
    assert "no longer kept" in breach.what


def test_traces_stand_under_the_offsets_of_their_commands() -> None:
    traces = folded(lives()).traces
    assert isinstance(traces, array)
    assert len(traces) == 12


@pytest.mark.parametrize(
    ("commands", "reports", "named"), [(2, 1, []), (3, 1, [5]), (2, 2, [4]), (3, 2, [5, 4])], ids=str
)
async def test_what_was_read_behind_the_end_of_its_lane_is_named(commands: int, reports: int, named: list[int]) -> None:
    """A shard's next owner begins there, so it would never see what is sent meanwhile."""
    log = MemoryLog(4, now_ms=lambda: NOW_MS)
    await log.send(Lane(Topic.COMMANDS, 1), [Outgoing(b"k", b"1"), Outgoing(b"k", b"2")])
    await log.send(Lane(Topic.REPORTS, 1), [Outgoing(b"k", b"1")])
    assert [breach.promise for breach in await beyond_its_lanes(log, 1, commands, reports)] == named
