"""`verify` beside the lanes: what an event says otherwise than the command or report that is kept is named."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from execution_ledger.log.memory import MemoryLog
from execution_ledger.log.protocol import Lane, Outgoing, Topic
from execution_ledger.verify import kept
from execution_ledger.verify.findings import Breach
from execution_ledger.verify.kept import check_kept
from unit.spec import NOW_MS
from unit.verify_rich import FAILS, JOINED, RichHistory, rich_lives
from unit.verify_stage import Document

Rewrite = Callable[[Document], object]


async def written(history: RichHistory) -> MemoryLog:
    log, ledger = MemoryLog(4, now_ms=lambda: NOW_MS), rich_lives()
    for topic, lane in ((Topic.COMMANDS, ledger.commands), (Topic.REPORTS, ledger.reports)):
        await log.send(Lane(topic, 1), [Outgoing(b"k", value) for value in lane])
    async with log.take_over(1) as writer:
        for raw in history.raw():
            await writer.append([Outgoing(b"k", raw)])
    log.partition(Lane(Topic.EVENTS, 1)).settle()
    return log


async def breaches(log: MemoryLog, *named: int) -> list[Breach]:
    return (await check_kept(log, 1, frozenset(named), lambda _: None)).kept


def says(**envelope: object) -> Rewrite:
    return lambda document: document.update(envelope)


def tells(**fields: object) -> Rewrite:
    return lambda document: document["data"].update(fields)


DAMAGES: list[tuple[str, int, str, Rewrite]] = [
    ("who asked for it", 5, "execution.queued", says(actor="eve")),
    ("why", 5, "execution.abort_requested", says(reason="no reason")),
    ("when it was recorded", 5, "execution.queued", says(recordedtime="2023-11-14T22:13:20.001Z")),
    ("when a report was recorded", 3, "execution.failed", says(recordedtime="2023-11-14T22:13:21.000Z")),
    ("when it happened", 3, "execution.started", says(time="2023-11-14T22:13:19.000Z")),
    ("what caused it", 5, "job.opened", says(causationid="job/x")),
    ("what it belongs to", 5, "batch.opened", says(correlationid="c")),
    ("whose trace it is", 5, "execution.held", says(traceparent="00-1-2-01")),
    ("its priority", 5, "execution.queued", tells(priority=7)),
    ("its labels", 5, "execution.queued", tells(labels={"a": "b"})),
    ("its twin", 5, "execution.queued", tells(twin="pump-9")),
    ("the labels that were set", 5, "labels.changed", tells(labels={"k": "w"})),
    ("how many a batch has", 5, "batch.opened", tells(count=10)),
    ("what a job does", 5, "job.opened", tells(action="hold")),
    ("what failed", 3, "execution.failed", tells(failure={"kind": "user", "message": "no"})),
    ("what kind of artifact", 3, "execution.artifact_recorded", tells(kind="table")),
    ("whether a repeat is the same", 5, "command.repeated", tells(same_body=False)),
]


@pytest.mark.parametrize(("promise", "kind", "rewrite"), [row[1:] for row in DAMAGES], ids=[row[0] for row in DAMAGES])
async def test_what_its_cause_says_otherwise_is_named(promise: int, kind: str, rewrite: Rewrite) -> None:
    history = RichHistory()
    document = history.find(kind)
    rewrite(document)
    log = await written(history)
    (breach,) = await breaches(log)
    assert breach[:3] == (promise, 1, int(document["sequence"]))
    assert await breaches(log, int(document["sequence"])) == [], "what was named before is not named again"


async def test_what_is_as_its_causes_say_breaks_nothing() -> None:
    assert await breaches(await written(RichHistory())) == []


async def test_what_is_no_longer_kept_is_not_asked_for() -> None:
    history = RichHistory()
    for subject in (FAILS, JOINED):
        history.find("execution.failed", subject)["actor"] = "eve"
    log = await written(history)
    assert [breach.execution for breach in await breaches(log)] == [FAILS, JOINED]
    log.forget(Lane(Topic.REPORTS, 1), 7)
    assert [breach.execution for breach in await breaches(log)] == [JOINED]


async def test_of_a_long_log_the_newest_events_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    history = RichHistory()
    for subject in (FAILS, JOINED):
        history.find("execution.failed", subject)["actor"] = "eve"
    monkeypatch.setattr(kept, "COMPARED_MAX", 20)
    assert [breach.execution for breach in await breaches(await written(history))] == [JOINED]


async def test_what_is_no_event_is_passed_over() -> None:
    history = RichHistory()
    del history.find("labels.changed")["data"]
    assert await breaches(await written(history)) == []
