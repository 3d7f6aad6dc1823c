"""A shard's lanes become events: one trace per command, dense sequences, chains, and nothing that stops the shard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count

import pytest

from execution_ledger.domain import execution
from execution_ledger.errors import BrokenHistory, TopicContract
from execution_ledger.ledger import deciding
from execution_ledger.ledger.deciding import decide_batch
from execution_ledger.ledger.recording import Cause, Cursor, Decided, append
from execution_ledger.ledger.shard import ShardState, fold, initial
from execution_ledger.log.protocol import Lane, Record, Topic
from execution_ledger.messages import events
from execution_ledger.messages.base import Message
from execution_ledger.messages.commands import (
    ClaimDispatch,
    Dispatch,
    ExpireAttempt,
    OpenBatch,
    OpenJob,
    RegisterPipeline,
    RequestAbort,
    Submit,
)
from execution_ledger.messages.events import Event, decode_event, digest_of, encode_event
from execution_ledger.messages.ids import child_id, make_id
from execution_ledger.messages.parts import Origin
from execution_ledger.messages.payload import json_payload
from execution_ledger.messages.reports import ReportBase, ReportCompleted, ReportStarted
from execution_ledger.settings import LedgerSettings
from unit.spec import CLAIM, NOW_MS, OPTIONS, PIPELINE, RUNNER, submit

SETTINGS = LedgerSettings(keyed_ms=1_000_000, keyed_max=3)


class Ledger:
    """One shard in memory: give it messages, read its events."""

    def __init__(self, shard: int = 1) -> None:
        self.shard = shard
        self.events: list[Event] = []
        self.raw: list[bytes] = []
        self.now_ms = NOW_MS
        self._offsets: dict[Topic, Iterator[int]] = {Topic.COMMANDS: count(), Topic.REPORTS: count()}
        fresh = Decided(initial(shard, 4, SETTINGS), Cursor(-1, -1))
        facts = [events.ShardCreated(log_id="log-1", shards=4), events.ShardClaimed(owner="ledger-1")]
        self.keep(append(fresh, f"shard/{shard}", facts, Cause(NOW_MS)))
        if shard:
            self.do(ClaimDispatch(command_id="claim", actor="d-1", dispatcher="d-1", claim=CLAIM))

    def do(self, *messages: Message | bytes | None) -> list[Event]:
        """Decides these in one batch; answers with the events that came of it."""
        before = len(self.events)
        self.keep(decide_batch(self.state, self.cursor, [self._record(message) for message in messages]))
        return self.events[before:]

    def report(self, value: bytes) -> list[Event]:
        before = len(self.events)
        record = Record(Lane(Topic.REPORTS, self.shard), next(self._offsets[Topic.REPORTS]), self.now_ms, b"k", value)
        self.keep(decide_batch(self.state, self.cursor, [record]))
        return self.events[before:]

    def _record(self, message: Message | bytes | None) -> Record:
        topic = Topic.REPORTS if isinstance(message, ReportBase) else Topic.COMMANDS
        value = message.model_dump_json(exclude_none=True).encode() if isinstance(message, Message) else message
        return Record(Lane(topic, self.shard), next(self._offsets[topic]), self.now_ms, b"key", value)

    def keep(self, decided: Decided) -> None:
        self.state, self.cursor, self.ignored = decided.state, decided.cursor, decided.ignored
        self.raw += [outgoing.value for outgoing in decided.outgoing]
        self.events = [decode_event(raw) for raw in self.raw]


def types(happened: list[Event]) -> list[str]:
    return [event.data.TYPE.removesuffix(".v1") for event in happened]


def new_id(random_bits: int, shard: int = 1, time_ms: int = NOW_MS) -> str:
    return make_id(time_ms, shard, random_bits)


def dispatch(execution_id: str, command_id: str = "dispatch") -> Dispatch:
    return Dispatch(
        command_id=command_id, actor="d-1", execution_id=execution_id, claim=CLAIM, attempt=1, runner=RUNNER
    )


def abort(execution_id: str, command_id: str = "abort") -> RequestAbort:
    return RequestAbort(command_id=command_id, actor="ada", execution_id=execution_id, reason="enough")


def replayed(ledger: Ledger) -> ShardState:
    state = initial(ledger.shard, 4, SETTINGS)
    for raw in ledger.raw:
        state = fold(state, decode_event(raw), digest_of(raw))
    return state


def test_an_execution_end_to_end_chains_and_counts_densely() -> None:
    ledger, one = Ledger(), new_id(1)
    outputs = json_payload({"n": 2})
    said = {"execution_id": one, "attempt": 1, "runner": RUNNER, "time": NOW_MS}
    ledger.do(submit(one), dispatch(one), ReportStarted(**said, ordinal=1))
    ledger.do(ReportCompleted(**said, ordinal=2, outputs=outputs))
    assert [event.sequence for event in ledger.events] == list(range(1, len(ledger.events) + 1))
    mine = [(event, raw) for event, raw in zip(ledger.events, ledger.raw, strict=True) if event.subject == one]
    assert [event.version for event, _ in mine] == [1, 2, 3, 4]
    assert [event.previous for event, _ in mine[1:]] == [digest_of(raw) for _, raw in mine[:-1]]
    assert mine[0][0].actor == "ada"
    assert mine[2][0].actor == RUNNER


def test_folding_the_log_gives_the_state_that_decided_it() -> None:
    ledger, one, two = Ledger(), new_id(1), new_id(2)
    ledger.do(submit(one), submit(two, "submit-2"), dispatch(one), abort(two), b"rubbish", abort(two))
    again = replayed(ledger)
    assert again == ledger.state


@pytest.mark.parametrize("value", [b"rubbish", None, b"{}", b'{"type":"submit.v9"}', b"\xff", b"[" * 100_000])
def test_what_cannot_be_read_leaves_a_trace_and_stops_nothing(value: bytes | None) -> None:
    ledger = Ledger()
    unreadable, queued = ledger.do(value, submit(new_id(1)))
    assert types([unreadable, queued]) == ["command.unreadable", "execution.queued"]
    assert (unreadable.data.offset, unreadable.data.digest) == (1, digest_of(value or b""))


def test_every_command_leaves_exactly_one_trace_under_its_own_offset() -> None:
    ledger, one = Ledger(), new_id(1)
    happened = ledger.do(submit(one), submit(one), abort(one), abort(one, "abort-2"), b"rubbish")
    assert types(happened) == [
        "execution.queued",
        "command.repeated",
        "execution.abort_requested",
        "execution.aborted",
        "command.rejected",
        "command.unreadable",
    ]
    assert [event.cmdoffset for event in happened] == [1, 2, 3, 3, 4, 5]


def test_a_repeat_names_the_first_answer_and_whether_the_bodies_match() -> None:
    ledger = Ledger()
    first = submit(new_id(1)).model_copy(update={"keyed": True, "body_digest": "b-1"})
    queued, same = ledger.do(first, first.model_copy(update={"execution_id": new_id(2)}))
    (other,) = ledger.do(first.model_copy(update={"execution_id": new_id(3), "body_digest": "b-2"}))
    assert (same.data.same_body, other.data.same_body) == (True, False)
    assert same.data.first.subject == queued.subject == new_id(1)
    assert (same.data.first.name, same.data.first.sequence) == (queued.data.name, queued.sequence)


def test_a_repeat_of_a_refused_command_is_refused_in_the_same_words() -> None:
    ledger = Ledger()
    refused, repeated = ledger.do(abort(new_id(9)), abort(new_id(9)))
    assert repeated.data.first.refused == refused.data.refusal


def test_keyed_commands_are_remembered_longer_than_others() -> None:
    ledger = Ledger()
    keyed = submit(new_id(1), "keyed").model_copy(update={"keyed": True})
    ledger.do(keyed, submit(new_id(2), "plain"))
    for minute in range(1, 6):
        ledger.now_ms = NOW_MS + minute * 150_000
        ledger.do(submit(new_id(minute, time_ms=ledger.now_ms), f"other-{minute}"))
    late = {"execution_id": new_id(77, time_ms=ledger.now_ms)}
    assert types(ledger.do(keyed.model_copy(update=late))) == ["command.repeated"]
    assert types(ledger.do(submit(new_id(78, time_ms=ledger.now_ms), "plain"))) == ["execution.queued"]


def test_an_id_that_may_have_been_forgotten_is_refused() -> None:
    ledger = Ledger()
    ledger.now_ms = NOW_MS + 120_001
    (old,) = ledger.do(submit(new_id(1)))
    (early,) = ledger.do(submit(new_id(2, time_ms=ledger.now_ms + 120_001), "submit-2"))
    assert (old.data.refusal.code, early.data.refusal.code) == ("id_too_old", "id_from_future")


def test_what_opens_a_batch_or_a_job_and_comes_again_when_it_was_forgotten_opens_nothing() -> None:
    ledger = Ledger()
    batch = OpenBatch(command_id="b", actor="ada", batch_id=new_id(1), count=1, opened=NOW_MS, versions={})
    job = OpenJob(
        command_id="j", actor="ada", job_id=new_id(2), action="hold", count=1, targets=json_payload([new_id(3)])
    )
    assert types(ledger.do(batch, job)) == ["batch.opened", "job.opened"]
    for _ in range(2):  # by then two generations have gone
        ledger.now_ms += 131_000
        ledger.do(submit(new_id(4, time_ms=ledger.now_ms), f"other-{ledger.now_ms}"))
    again = ledger.do(batch, job, batch.model_copy(update={"batch_id": new_id(5, time_ms=ledger.now_ms + 10_001)}))
    refused = [event.data.refusal.code for event in again if isinstance(event.data, events.CommandRejected)]
    assert refused == ["id_too_old", "id_too_old", "id_from_future"]


def test_a_refused_id_is_not_the_answer_to_its_key() -> None:
    ledger = Ledger()
    ledger.now_ms = NOW_MS + 120_001
    keyed = submit(new_id(1)).model_copy(update={"keyed": True})
    refused, queued = ledger.do(keyed, keyed.model_copy(update={"execution_id": new_id(1, time_ms=ledger.now_ms)}))
    assert types([refused, queued]) == ["command.rejected", "execution.queued"]


def test_an_ended_execution_is_forgotten_and_answers_as_unknown() -> None:
    ledger, one = Ledger(), new_id(1)
    ledger.do(submit(one), abort(one))
    assert ledger.do(abort(one, "a-2"))[0].data.refusal.code == "already_ended"
    for step in (1, 2):
        ledger.now_ms = NOW_MS + step * 131_000
        other = new_id(step + 1, time_ms=ledger.now_ms)
        ledger.do(submit(other, f"s-{step}"), abort(other, f"x-{step}"))
    assert ledger.do(abort(one, "a-3"))[0].data.refusal.code == "unknown_execution"


def test_a_source_is_exactly_once_by_its_ordinals() -> None:
    ledger, batch = Ledger(), new_id(5)

    def child(index: int, command_id: str) -> Submit:
        origin = Origin(source=f"batch/{batch}", ordinal=index)
        return submit(child_id(batch, 1, index), command_id).model_copy(update={"origin": origin})

    happened = ledger.do(child(0, "c-0"), child(3, "c-3"), child(3, "again"), child(2, "c-2"))
    assert types(happened) == ["execution.queued", "execution.queued", "command.rejected", "command.rejected"]
    assert happened[2].data.refusal.code == "not_above_ordinal"


def test_a_batch_is_opened_once_and_a_repeat_gets_its_versions() -> None:
    ledger = Ledger()
    opening = OpenBatch(
        command_id="b", actor="ada", keyed=True, body_digest="d", batch_id=new_id(1), count=2, opened=NOW_MS,
        versions={"train": PIPELINE},
    )  # fmt: skip
    opened, repeated = ledger.do(opening, opening.model_copy(update={"batch_id": new_id(2)}))
    assert (opened.subject, opened.version) == (f"batch/{new_id(1)}", None)
    assert repeated.data.first.subject == opened.subject
    assert repeated.data.first.versions == {"train": PIPELINE}


def test_a_pipeline_is_versioned_by_content() -> None:
    ledger = Ledger(shard=0)

    def register(digest: str, command_id: str) -> RegisterPipeline:
        definition = json_payload({"name": "train", "code": "c"})
        return RegisterPipeline(
            command_id=command_id, actor="r", pipeline="train", digest=digest, definition=definition
        )

    first, same, second, back = ledger.do(
        register("a", "1"), register("a", "2"), register("b", "3"), register("a", "4")
    )
    assert types([first, same, second, back])[1] == "command.repeated"
    assert same.data.first.version == 1
    assert (second.data.version, back.data.version) == (2, 3)


def test_shard_0_numbers_claims_and_the_others_take_only_newer_ones() -> None:
    catalog, other = Ledger(shard=0), Ledger()
    numbered = ClaimDispatch(command_id="c-1", actor="d-2", dispatcher="d-2")
    assert [event.data.claim for event in catalog.do(numbered, numbered.model_copy(update={"command_id": "c-2"}))] == [
        1,
        2,
    ]
    told = numbered.model_copy(update={"claim": CLAIM})
    assert other.do(told)[0].data.refusal.code == "stale_claim"
    assert other.do(told.model_copy(update={"command_id": "c-3", "claim": CLAIM + 1}))[0].data.claim == CLAIM + 1
    (refused,) = other.do(submit(new_id(1)), dispatch(new_id(1)))[1:]
    assert refused.data.refusal.code == "stale_claim"


def test_a_command_that_came_to_the_wrong_shard_is_refused() -> None:
    assert Ledger().do(submit(new_id(1, shard=2)))[0].data.refusal.code == "wrong_shard"
    assert Ledger(shard=0).do(submit(new_id(1, shard=0)))[0].data.refusal.code == "wrong_shard"


def test_recorded_time_never_decreases() -> None:
    ledger = Ledger()
    ledger.do(submit(new_id(1)))
    ledger.now_ms = NOW_MS - 5_000
    ledger.do(submit(new_id(2), "submit-2"))
    times = [event.recordedtime for event in ledger.events]
    assert times == sorted(times)


def test_a_report_that_changes_nothing_is_counted_and_moves_the_cursor_alone() -> None:
    ledger = Ledger()
    said = {"execution_id": new_id(1), "attempt": 1, "runner": RUNNER, "time": NOW_MS}
    assert ledger.do(ReportStarted(**said, ordinal=1)) == []
    assert (ledger.ignored, ledger.cursor.reports, ledger.state.rep_offset) == (1, 0, -1)


def test_a_report_of_another_runner_leaves_no_event() -> None:
    ledger, one = Ledger(), new_id(1)
    ledger.do(submit(one), dispatch(one))
    assert ledger.do(ReportStarted(execution_id=one, attempt=1, time=NOW_MS, ordinal=1, runner="another")) == []


def test_a_command_on_which_deciding_raises_leaves_its_trace_and_the_batch_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ledger, bad = Ledger(), new_id(1)

    def planted(known: execution.Execution | None, command: Submit, given: execution.Circumstances) -> object:
        if command.execution_id == bad:
            raise ZeroDivisionError("planted")
        return execution.decide(known, command, given)

    monkeypatch.setattr(deciding, "decide", planted)
    failed, queued, repeated = ledger.do(submit(bad, "bad"), submit(new_id(2), "good"), submit(bad, "bad"))
    assert types([failed, queued]) == ["command.failed", "execution.queued"]
    assert failed.data.error == "ZeroDivisionError: planted"
    assert repeated.data.first.refused.code == "internal"


def test_a_report_on_which_deciding_raises_fails_its_execution(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, one = Ledger(), new_id(1)
    ledger.do(submit(one), dispatch(one))
    monkeypatch.setattr(deciding, "decide_report", lambda *_: 1 / 0)
    said = ReportStarted(execution_id=one, attempt=1, ordinal=1, runner=RUNNER, time=NOW_MS)
    assert types(ledger.do(said)) == ["command.failed", "execution.failed"]


def test_what_a_dispatcher_would_ask_for_again_and_again_fails_its_execution_where_deciding_raises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ledger, one = Ledger(), new_id(1)
    ledger.do(submit(one), dispatch(one))
    monkeypatch.setattr(deciding, "decide", lambda *_: 1 / 0)
    expire = ExpireAttempt(
        command_id="expire", actor="dispatcher", claim=CLAIM, execution_id=one, attempt=1, cause="lost"
    )
    trace, failed = ledger.do(expire)
    assert types([trace, failed]) == ["command.failed", "execution.failed"]
    assert (trace.commandid, failed.commandid, failed.data.attempt) == ("expire", None, 1)


def test_an_execution_that_cannot_even_fail_is_quarantined(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, one = Ledger(), new_id(1)
    ledger.do(submit(one), dispatch(one))
    monkeypatch.setattr(deciding, "decide_report", lambda *_: 1 / 0)
    evolve = execution.evolve

    def planted(known: execution.Execution | None, fact: events.Fact) -> execution.Execution:
        if isinstance(fact, events.Failed):
            raise ZeroDivisionError("planted")
        return evolve(known, fact)

    monkeypatch.setattr("execution_ledger.ledger.shard.evolve", planted)
    said = ReportStarted(execution_id=one, attempt=1, ordinal=1, runner=RUNNER, time=NOW_MS)
    assert types(ledger.do(said)) == ["command.failed", "execution.quarantined"]
    assert ledger.do(abort(one))[0].data.refusal.code == "illegal_state"


@pytest.mark.parametrize("said", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59-10:00", -1, 10**18])
def test_a_report_counts_whatever_its_clock_says_and_its_event_can_be_read_again(said: str | int) -> None:
    ledger, one = Ledger(), new_id(1)
    ledger.do(submit(one), dispatch(one))
    report = {"type": "started.v1", "execution_id": one, "attempt": 1, "ordinal": 1, "runner": RUNNER, "time": said}
    (started,) = ledger.report(json.dumps(report).encode())
    assert started.data.TYPE == "execution.started.v1"
    assert encode_event(started) == ledger.raw[-1]


@pytest.mark.parametrize("time_ms", [-1, 10**18])
def test_a_command_that_names_an_impossible_time_is_unreadable(time_ms: int) -> None:
    opening = {"type": "open_batch.v1", "command_id": "b", "actor": "ada", "batch_id": new_id(1), "count": 1}
    (trace,) = Ledger().do(json.dumps({**opening, "opened": time_ms, "versions": {}}).encode())
    assert types([trace]) == ["command.unreadable"]


def test_a_number_that_no_view_could_hold_is_unreadable() -> None:
    claim = {"type": "claim_dispatch.v1", "command_id": "c", "actor": "d", "dispatcher": "d", "claim": 10**4000}
    (trace,) = Ledger().do(json.dumps(claim).encode())
    assert types([trace]) == ["command.unreadable"]


def test_a_log_of_another_number_of_shards_is_not_folded() -> None:
    ledger = Ledger()
    with pytest.raises(TopicContract, match="made with 4 shards, not 8"):
        fold(initial(1, 8, SETTINGS), ledger.events[0], digest_of(ledger.raw[0]))


@pytest.mark.parametrize(
    "damage",
    [{"sequence": 9}, {"ownerepoch": 0}, {"recordedtime": NOW_MS - 1}, {"cmdoffset": -1}, {"version": 7}, {"shard": 2}],
)
def test_a_history_that_contradicts_itself_is_not_folded(damage: dict[str, int]) -> None:
    ledger = Ledger()
    (queued,) = ledger.do(submit(new_id(1)))
    before = initial(1, 4, SETTINGS)
    for raw in ledger.raw[:-1]:
        before = fold(before, decode_event(raw), digest_of(raw))
    with pytest.raises(BrokenHistory):
        fold(before, queued.model_copy(update=damage), "digest")


def test_options_are_kept_as_they_were_asked_for() -> None:
    (queued,) = Ledger().do(submit(new_id(1)))
    assert queued.data.options == OPTIONS
