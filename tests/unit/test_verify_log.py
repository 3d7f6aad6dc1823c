"""Each promise that a log shows: one thing is damaged, and just that is named."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from execution_ledger.messages.events import digest_of
from execution_ledger.messages.ids import name_of, number_of
from execution_ledger.messages.payload import json_payload
from unit.spec import RUNNER, submit
from unit.test_deciding import dispatch, new_id
from unit.verify_stage import (
    LAST,
    LAST_COMMAND,
    ONE,
    THREE,
    TWO,
    History,
    catalog,
    check,
    damaged,
    lives,
    named,
    written,
)

Damage = Callable[[History], object]
OTHER = new_id(4)
REJECTED = {"command": "request_abort.v1", "refusal": {"code": "unknown_execution", "detail": "no"}}
COMPLETED = {"attempt": 1, "outputs": json_payload({}).model_dump(exclude_none=True)}


def test_a_legal_history_breaks_nothing_and_is_counted() -> None:
    findings = check(lives().raw)
    assert findings.breaches.kept == []
    assert (findings.events, findings.executions, findings.shards) == (LAST + 7, 3, 4)


def queued_again(history: History, number: int, link: object = None, **envelope: object) -> None:
    """A fourth execution, queued as the third was."""
    number = number_of(number, 1)
    data = history[13]["data"] | {"number": number, "name": name_of("train", number)}
    data |= {"link": link} if link else {}
    history.append(OTHER, "execution.queued.v1", data, cmdoffset=str(LAST_COMMAND + 1), **envelope)


def made_from(history: History, how: str, to: str) -> None:
    queued_again(history, 4, {"how": how, "to": to}, commandid="c")


def opened(history: History, batch_id: str, link: object = None) -> None:
    data = {"batch_id": batch_id, "count": 1, "opened": history[13]["recordedtime"], "versions": {}}
    linked = data | ({"link": link} if link else {})
    cmdoffset = max(int(it["cmdoffset"]) for it in history.documents) + 1
    history.append(f"batch/{batch_id}", "batch.opened.v1", linked, cmdoffset=str(cmdoffset), commandid=batch_id)
    for of_an_execution in ("version", "previous"):
        history.documents[-1].pop(of_an_execution, None)


def opened_again(history: History) -> None:
    """By a command that had been forgotten."""
    for _ in range(2):
        opened(history, new_id(5))
    history[21]["commandid"] = "c"


def entered_later(history: History) -> None:
    """The first version is the second one."""
    data = {"key": "pump-7", "version": 2}
    history.append("twin/pump-7", "twin.removed.v1", data, cmdoffset=str(LAST_COMMAND + 1), commandid="c")
    for of_an_execution in ("version", "previous"):
        history.documents[-1].pop(of_an_execution, None)


def lose_and_renumber(history: History, sequence: int) -> None:
    del history.documents[sequence - 1]
    history.number()


def second_attempt_is_the_third(history: History) -> None:
    history.change_data(17, attempt=3)
    history.change_data(18, attempt=3)


def lower_sequence(history: History) -> None:
    history[12].update(sequence=f"{5:020d}", id=f"1-{5:020d}")


def higher_sequence(history: History) -> None:
    history[12].update(sequence=f"{15:020d}", id=f"1-{15:020d}")


def runs_twice(history: History) -> None:
    history.change_data(13, policy=history[13]["data"]["policy"] | {"delivery": "at_most_once"})
    history.append(THREE, "execution.started.v1", {"attempt": 2, "runner": RUNNER, "ordinal": 1}, repoffset="9")


PLACES: list[tuple[str, Damage, tuple[int, int, str | None]]] = [
    ("a gap", lambda h: h.documents.pop(11), (1, 12, None)),
    ("a gap in an execution", lambda h: h.documents.pop(5), (1, 6, None)),
    ("a gap before an end", lambda h: h.documents.pop(8), (1, 9, None)),
    ("a gap of several", lambda h: h.documents.__delitem__(slice(6, 9)), (1, 7, None)),
    ("the first is missing", lambda h: h.documents.pop(0), (1, 1, None)),
    ("a repeat", lambda h: h.documents.insert(11, h[12]), (1, 12, None)),
    ("a lower sequence", lower_sequence, (1, 5, None)),
    ("a higher sequence", higher_sequence, (1, 12, None)),
    ("time goes back", lambda h: h.change(12, recordedtime="2023-11-14T22:13:19.999Z"), (1, 12, None)),
    ("another event's id", lambda h: h.change(12, id=h[11]["id"]), (1, 12, None)),
    ("another log's event", lambda h: h.change(12, source="/execution-ledger/log-2/1"), (1, 12, None)),
    ("another shard's event", lambda h: h.change(12, shard=2), (1, 12, None)),
    ("a lower epoch", lambda h: h.change(12, ownerepoch=0), (2, 12, None)),
    ("an epoch without a claim", lambda h: h.change(12, ownerepoch=2), (2, 12, None)),
    ("a claim that leaves one out", lambda h: [it.update(ownerepoch=2) for it in h.documents[1:]], (2, 2, None)),
    ("a version left out", lambda h: h.change(7, version=9), (3, 7, ONE)),
    ("a version of what has none", lambda h: h.change(12, version=1), (3, 12, None)),
    ("an end from nowhere", lambda h: h.append(OTHER, "execution.completed.v1", COMPLETED), (3, 20, OTHER)),
    (
        "back to the queue while aborting",
        lambda h: h.append(THREE, "execution.requeued.v1", {"attempt": 2, "cause": "lost"}),
        (3, 20, THREE),
    ),
    ("a second end", lambda h: h.append(ONE, "execution.completed.v1", COMPLETED), (3, 20, ONE)),
    ("life after its end", lambda h: h.append(TWO, "execution.warned.v1", {"attempt": 1, "ordinal": 9, "message": "m"}),
     (3, 20, TWO)),
    ("a wrong number", lambda h: h.change_data(13, number=5 * 4096 + 1, name="train-501"), (3, 13, THREE)),
    ("another shard's number", lambda h: h.change_data(13, number=3 * 4096 + 2, name="train-302"), (3, 13, THREE)),
    ("a wrong name", lambda h: h.change_data(13, name="train-302"), (3, 13, THREE)),
    ("a wrong outcome", lambda h: h.change_data(10, outcome="forced"), (3, 10, TWO)),
    ("too late for an abort that nobody asked for", lambda h: h.change_data(7, abort="too_late"), (3, 7, ONE)),
    ("a grace that is not its policy's", lambda h: h.change_data(18, grace_until=h[18]["recordedtime"]),
     (3, 18, THREE)),
    ("a grace in the queue", lambda h: h.change_data(9, grace_until=h[9]["recordedtime"]), (3, 9, TWO)),
    ("too late, without a word of it", lambda h: h.append(THREE, "execution.completed.v1", COMPLETED | {"attempt": 2}),
     (3, 20, THREE)),
    ("decided twice", lambda h: queued_again(h, 4, commandid="submit-2"), (4, 20, OTHER)),
    ("reports go back", lambda h: h.change(17, repoffset="-1"), (4, 17, THREE)),
    ("commands go back", lambda h: h.change(16, cmdoffset="2"), (4, 16, THREE)),
    ("a command without a trace", lambda h: lose_and_renumber(h, 12), (5, 12, THREE)),
    ("a command passed over", lambda h: h.change(16, cmdoffset="9"), (5, 16, THREE)),
    ("an offset out of this world", lambda h: h.change(16, cmdoffset=str(10**15)), (5, 16, THREE)),
    (
        "a second trace",
        lambda h: h.append("s", "command.rejected.v1", REJECTED, commandid="x", cmdoffset=str(LAST_COMMAND)),
        (5, 20, None),
    ),
    ("a repeat that is told of another", lambda h: h[12]["data"]["first"].update(sequence=8), (5, 12, None)),
    ("an attempt left out", second_attempt_is_the_third, (6, 17, THREE)),
    (
        "a second live attempt",
        lambda h: h.append(THREE, "execution.dispatched.v1", {"attempt": 3, "runner": RUNNER, "claim": 3}),
        (6, 20, THREE),
    ),
    ("a stale claim", lambda h: h.change_data(14, claim=2), (6, 14, THREE)),
    ("a stale report", lambda h: h.append(THREE, "execution.completed.v1", COMPLETED), (6, 20, THREE)),
    ("a repeated report", lambda h: h.change_data(6, ordinal=0), (6, 6, ONE)),
    ("a report of another runner", lambda h: h.change_data(6, runner="runner-2"), (6, 6, ONE)),
    ("code that ran twice", runs_twice, (6, 16, THREE)),
    ("a claim that goes back", lambda h: h.append(
        "dispatcher", "dispatcher.claimed.v1", {"dispatcher": "d-1", "claim": 2}, commandid="c",
        actor="d-1", cmdoffset=str(LAST_COMMAND + 1)), (6, 20, None)),
    ("a claim that shard 0 never gave", lambda h: h.append(
        "dispatcher", "dispatcher.claimed.v1", {"dispatcher": "d-1", "claim": 4}, commandid="c",
        actor="d-1", cmdoffset=str(LAST_COMMAND + 1)), (6, 20, None)),
    ("a retry of what lives", lambda h: made_from(h, "retry", THREE), (3, 20, OTHER)),
    ("a rerun of nothing", lambda h: made_from(h, "rerun", new_id(8)), (3, 20, OTHER)),
    ("a retry of no batch", lambda h: opened(h, new_id(5), {"how": "retry", "to": new_id(6)}), (3, 20, None)),
    ("a batch that is opened again", opened_again, (4, 21, None)),
    ("a twin's version left out", entered_later, (3, 20, None)),
    ("outputs that were changed", lambda h: h[7]["data"]["outputs"].update(inline='{"n":3}'), (11, 7, ONE)),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "place"), [row[1:] for row in PLACES], ids=[row[0] for row in PLACES])
def test_one_damage_is_one_breach_and_is_named(damage: Damage, place: tuple[int, int, str | None]) -> None:
    promise, sequence, execution = place
    assert named(damaged(damage)) == [(promise, 1, sequence, execution)]


def retry_what_has_ended(history: History) -> None:
    made_from(history, "retry", TWO)
    opened(history, new_id(5))
    opened(history, new_id(6), {"how": "retry", "to": new_id(5)})


def test_links_to_what_has_ended_before_are_legal() -> None:
    assert damaged(retry_what_has_ended) == []


def test_a_link_to_what_is_known_to_be_missing_is_no_second_breach() -> None:
    def without_an_end(history: History) -> None:
        made_from(history, "retry", TWO)
        history.documents.pop(9)

    assert named(damaged(without_an_end)) == [(1, 1, 10, None)]


@pytest.mark.parametrize(
    ("damage", "sequence"),
    [
        (lambda h: h.change_data(5, runner="another"), 6),
        (lambda h: h.change(6, previous="0" * 64), 6),
        (lambda h: h[6].pop("previous"), 6),
        (lambda h: h.change(4, actor="eve"), 5),
    ],
    ids=["bytes", "a digest", "a digest left out", "who did it"],
)
def test_a_broken_chain_is_found_at_the_event_after_the_changed_one(damage: Damage, sequence: int) -> None:
    def and_keep_the_rest(history: History) -> None:
        history.chain()
        damage(history)
        later = [it for it in history.documents[sequence:] if it["subject"] == ONE and "version" in it]
        before = history[sequence]
        for document in later:
            document["previous"] = digest_of(written(before))
            before = document

    assert named(damaged(and_keep_the_rest, chained=False)) == [(11, 1, sequence, ONE)]


def test_an_end_that_comes_again_byte_by_byte_is_a_repeat() -> None:
    raw = lives().raw
    raw.insert(7, raw[6])
    assert named(check(raw).breaches.kept) == [(1, 1, 7, ONE)]


@pytest.mark.parametrize("rubbish", [b"", b"rubbish", b"{}", b"\xff", b"[" * 10_000])
@pytest.mark.parametrize("instead", [True, False], ids=["instead of an event", "between two"])
def test_what_is_no_event_is_named_and_does_not_hide_the_rest(rubbish: bytes, instead: bool) -> None:
    raw = lives().raw
    raw[11 : 11 + instead] = [rubbish]
    assert named(check(raw).breaches.kept) == [(1, 1, 12, None)]


def test_an_event_of_a_newer_version_is_named_as_one() -> None:
    raw = lives().raw
    raw[11] = raw[11].replace(b"command.repeated.v1", b"command.repeated.v9")
    (breach,) = check(raw).breaches.kept
    assert (breach.promise, breach.sequence) == (1, 12)
    assert "newer release" in breach.what


def test_shards_of_two_logs_do_not_belong_together() -> None:
    other = [raw.replace(b"log-1", b"log-2") for raw in catalog().raw]
    assert named(check(lives().raw, other).breaches.kept) == [(1, 1, 1, None)]


def test_a_limit_that_was_exceeded_is_named_with_the_one_that_was_too_many() -> None:
    ledger = lives()
    ledger.now_ms += 60_000
    first, second = new_id(5, time_ms=ledger.now_ms), new_id(6, time_ms=ledger.now_ms)
    ledger.do(submit(first, "s-5"), dispatch(first, "d-5"))
    assert check(ledger.raw, catalog(limit=2).raw).breaches.kept == []
    ledger.do(submit(second, "s-6"), dispatch(second, "d-6"))
    assert named(check(ledger.raw, catalog(limit=2).raw).breaches.kept) == [(6, 1, ledger.state.sequence, second)]
    assert check(ledger.raw, catalog(limit=3).raw).breaches.kept == []


def test_many_breaches_are_counted_and_some_are_kept() -> None:
    history = History()
    for _ in range(150):
        history.append(ONE, "execution.completed.v1", COMPLETED)
    found = check(history.raw(), history.shard_0).breaches
    assert (found.total, len(found.kept)) == (150, 100)
