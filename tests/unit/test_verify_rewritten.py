"""Events with one field rewritten, and the chains made anew: what such an event says cannot be, and it is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from execution_ledger.messages.ids import child_id, name_of, number_of
from execution_ledger.messages.payload import json_payload
from execution_ledger.settings import LedgerSettings
from execution_ledger.verify.log.history import check_shard, join
from unit.test_deciding import new_id
from unit.verify_rich import BATCH, CHILDREN, FAILS, JOB, JOINED, RERUN, RichHistory, rewritten
from unit.verify_stage import Document, stored, written

Rewrite = Callable[[Document], object]


def test_the_rich_history_is_legal() -> None:
    assert RichHistory().breaches() == []


def says(**envelope: Any) -> Rewrite:
    return lambda document: document.update(envelope)


def tells(**fields: Any) -> Rewrite:
    return lambda document: document["data"].update(fields)


def holds(name: str, **fields: Any) -> Rewrite:
    return lambda document: document["data"][name].update(fields)


def without(*names: str) -> Rewrite:
    def rewrite(document: Document) -> None:
        *path, last = names
        for name in path:
            document = document[name]
        del document[last]

    return rewrite


OTHER = {"inline": "[2]"}
NAMED: list[tuple[str, int, str, Rewrite, str]] = [
    # who it was
    ("a start that somebody else reports", 6, "execution.started", says(actor="eve"), "eve reports it"),
    ("an end that nobody reports", 6, "execution.failed", without("actor"), "None reports it"),
    ("a checkpoint of somebody else", 6, "execution.checkpointed", says(actor="r-9"), "r-9 reports it"),
    ("a dispatch that somebody else asked for", 6, "execution.dispatched", says(actor="eve"), "eve asked for it"),
    ("a claim for somebody else", 6, "dispatcher.claimed", says(actor="eve"), "eve claims for d-1"),
    ("an execution that nobody asked for", 5, "execution.queued", without("actor"), "who asked for it"),
    ("a label that nobody asked for", 5, "labels.changed", without("actor"), "who asked for it"),
    # what was read of the reports
    ("a report that was taken before", 4, "execution.checkpointed", says(repoffset="2"), "report 2"),
    # what it is about
    ("another shard's claim", 3, "shard.claimed", says(subject="shard/2"), "'shard/1'"),
    ("a dispatcher of another name", 3, "dispatcher.claimed", says(subject="x"), "'dispatcher'"),
    ("another pipeline", 3, "pipeline.registered", says(subject="pipeline/x"), "'pipeline/train'"),
    ("another twin", 3, "twin.registered", tells(key="pump-9"), "'twin/pump-9'"),
    ("no entry at all", 3, "template.registered", says(subject="pump"), "'template/pump'"),
    ("another batch", 3, "batch.opened", says(subject=f"batch/{JOB}"), f"batch/{BATCH}"),
    ("another job", 3, "job.opened", says(subject=f"job/{BATCH}"), f"job/{JOB}"),
    ("rubbish of another shard", 3, "command.unreadable", says(subject="shard/9"), "'shard/1'"),
    ("rubbish at another offset", 5, "command.unreadable", tells(offset=3), "offset 3"),
    # payloads
    ("another definition", 11, "twin.registered", holds("definition", inline="{}"), "its definition"),
    ("a definition of another size", 11, "template.registered", holds("definition", size=9), "say 9"),
    ("inputs of another size", 11, "execution.queued", holds("inputs", size=1), "its inputs have 7 bytes"),
    ("inputs without a text", 11, "execution.queued", without("data", "inputs", "inline"), "have no text"),
    ("other properties", 11, "execution.queued", holds("properties", inline="{}"), "its properties"),
    ("another digest of properties", 11, "execution.queued", holds("properties", sha256="0" * 64), "its properties"),
    ("another checkpoint", 11, "execution.checkpointed", holds("value", **OTHER), "its value"),
    ("outputs of another size", 11, "execution.completed", holds("outputs", size=0), "its outputs"),
    ("other arguments", 11, "job.opened", holds("arguments", **OTHER), "its arguments"),
    # answers
    ("a repeat that is told of another subject", 5, "command.repeated",
     lambda it: it["data"]["first"].update(subject=FAILS), JOINED),
    ("a repeat that is told another number", 5, "command.repeated", lambda it: it["data"]["first"].update(number=1),
     "(1)"),
    ("a repeat that is told no name", 5, "command.repeated", without("data", "first", "name"), "told of None"),
    ("a business id that another one has", 5, "submit.joined", tells(execution_id=RERUN), "is not the one"),
    ("another business id", 5, "submit.joined", tells(business_id="none"), "is not the one"),
    ("another number for it", 5, "submit.joined", tells(number=4097), "(4097)"),
    ("another name for it", 5, "submit.joined", tells(name="train-401"), "train-401"),
    # batches and jobs
    ("targets that are no list", 4, "job.opened", tells(targets=json_payload({"a": 1}).model_dump(exclude_none=True)),
     "no list of ids"),
    ("targets that are no JSON", 4, "job.opened", holds("targets", inline="["), "no list of ids"),
    ("targets of another digest", 11, "job.opened", holds("targets", sha256="0" * 64), "its targets"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("promise", "kind", "rewrite", "what"), [row[1:] for row in NAMED], ids=[it[0] for it in NAMED]
)
def test_what_cannot_be_is_named(promise: int, kind: str, rewrite: Rewrite, what: str) -> None:
    sequence, breaches = rewritten(kind, rewrite)
    (breach,) = breaches
    assert (breach.promise, breach.sequence) == (promise, sequence)
    assert what in breach.what


def test_reused_outputs_of_another_digest_are_named() -> None:
    def rewrite(document: Document) -> None:
        document["data"]["reused"]["load"]["outputs"]["sha256"] = "0" * 64

    sequence, (breach,) = rewritten("execution.queued", rewrite, RERUN)
    assert breach[:4] == (11, 1, sequence, RERUN)


def test_a_catalog_on_another_shard_is_named() -> None:
    history = RichHistory()
    entry = history.find("twin.registered")["data"]
    history.append("twin/pump-7", "twin.registered.v1", entry, commandid="c", cmdoffset=history.next_command())
    (breach,) = history.breaches()
    assert (breach.promise, breach.shard) == (3, 1)
    assert "the catalog lives on shard 0" in breach.what


@pytest.mark.parametrize(
    ("count", "ordinal", "what"),
    [(9, 4, "child 4"), (5, 6, "which has only 5"), (9, 9, "child 9"), (9, 1, "comes after child 3")],
    ids=["of another index", "behind its count", "behind its count, by its id", "out of order"],
)
def test_a_forged_child_of_a_batch_is_named(count: int, ordinal: int, what: str) -> None:
    history = RichHistory()
    history.find("batch.opened")["data"]["count"] = count
    queued = history.find("execution.queued", CHILDREN[6])
    forged = child_id(BATCH, 1, ordinal) if ordinal == 1 else CHILDREN[6]
    for document in history.documents:
        if document["subject"] == CHILDREN[6]:
            document["subject"] = forged
    queued["data"]["origin"]["ordinal"] = ordinal
    breach = history.breaches()[0]
    assert breach[:4] == (4, 1, int(queued["sequence"]), forged)
    assert what in breach.what


def test_a_child_of_no_batch_is_named() -> None:
    history = RichHistory()
    opened = history.find("batch.opened")
    other = new_id(51)
    opened["data"]["batch_id"], opened["subject"] = other, f"batch/{other}"
    (breach,) = history.breaches()
    assert breach[:2] == (4, 1)
    assert "was never opened" in breach.what


@pytest.mark.parametrize("kind", ["batch.opened", "job.opened"])
def test_what_lacks_its_opening_because_that_is_unreadable_is_no_second_breach(kind: str) -> None:
    sequence, (breach,) = rewritten(kind, without("data"))
    assert breach[:3] == (1, 1, sequence)


@pytest.mark.parametrize("kind", ["shard.claimed", "dispatcher.claimed", "execution.queued"])
def test_what_follows_an_unreadable_event_is_no_second_breach(kind: str) -> None:
    sequence, (breach,) = rewritten(kind, without("data"))
    assert breach[:3] == (1, 1, sequence)


@pytest.mark.parametrize("moved", [1, -1])
@pytest.mark.parametrize("kind", ["batch.opened", "submit.joined", "command.unreadable", "labels.changed"])
def test_an_offset_beside_its_own_is_one_breach(kind: str, moved: int) -> None:
    def rewrite(document: Document) -> None:
        document["cmdoffset"] = str(int(document["cmdoffset"]) + moved)

    sequence, (breach,) = rewritten(kind, rewrite)
    assert breach[:3] == (5, 1, sequence)


@pytest.mark.parametrize("source", ["", "eve", "/execution-ledger/log-2/1"])
def test_a_shard_that_begins_with_another_source_is_one_breach(source: str) -> None:
    history = RichHistory()
    history[1]["source"] = source
    found = history.breaches()
    assert found[0][:3] == (1, 1, 1)
    assert len(found) <= 2


def test_what_came_after_the_other_shards_were_read_is_not_judged_by_them() -> None:
    """In a ledger that goes on while it is checked, a child may be read before the shard of its batch is."""
    history = RichHistory()
    other, number = child_id(new_id(70, shard=2), 1, 0), number_of(7, 1)
    queued = history.find("execution.queued", CHILDREN[0])["data"] | {
        "number": number,
        "name": name_of("train", number),
    }
    queued |= {"origin": {"source": f"batch/{new_id(70, shard=2)}", "ordinal": 0}}
    before = len(history.documents)
    history.append(other, "execution.queued.v1", queued, commandid="c", cmdoffset=history.next_command())
    history.chain()
    shard_0 = check_shard(0, stored([written(it) for it in history.catalog]), LedgerSettings())

    def breaches(settled: int) -> int:
        shard_1 = check_shard(1, stored(history.raw()), LedgerSettings(), settled=settled)
        shards = [shard_0, shard_1, check_shard(2, [], LedgerSettings()), check_shard(3, [], LedgerSettings())]
        return join(shards).breaches.total

    assert breaches(settled=2 * before) == 0
    assert breaches(settled=2 * before + 1) == 1
