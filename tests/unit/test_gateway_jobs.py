"""Jobs without HTTP and views: what is asked of the ledgers, by one gateway or by several, once or again."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import pytest

from execution_ledger.errors import Transient
from execution_ledger.gateway.writes.again import Ended
from execution_ledger.gateway.writes.jobs import CHUNK, Job, Targets, job_of
from execution_ledger.gateway.writes.requests import JobRequest
from execution_ledger.messages.events import Held, LabelsChanged, Queued, encode_event
from execution_ledger.messages.parts import JobAction, Status
from execution_ledger.verify.findings import Breach
from execution_ledger.verify.history import check_log
from unit.gateway_stage import Stage, on_stage, problem_of
from unit.test_gateway_again import ended


def found(*ids: str) -> Callable[[], Coroutine[Any, Any, Targets]]:
    async def find() -> Targets:
        return Targets(ids)

    return find


async def nobody(execution_ids: Sequence[str]) -> Mapping[str, Ended]:
    raise AssertionError("only what runs again is read")


async def submitted(stage: Stage, count: int) -> list[str]:
    return [(await stage.submit(n)).subject for n in range(count)]


async def opened(stage: Stage, action: JobAction, ids: Sequence[str], key: str | None = "k", **more: Any) -> Job:
    request = JobRequest(action=action, executions=list(ids), reason="enough", **more)
    answer = await stage.callers.open_job(request, found(*ids), "ada", key)
    [event] = [event for event in await stage.history() if event.subject == answer.subject][:1]
    return job_of(event)


async def facts(stage: Stage, kind: type[Any]) -> list[Any]:
    return [event for event in await stage.history() if isinstance(event.data, kind)]


def each_target_is_asked_once() -> None:
    """Whoever completes a job, and however often; each event says which job caused it, who asked, and why."""

    async def scenario(stage: Stage) -> None:
        ids = await submitted(stage, 5)
        job = await opened(stage, "label", ids, labels={"team": "blue", "old": None})
        async with stage.another_gateway() as other:
            for sender in (stage.callers, other, stage.callers):
                await sender.jobs.complete(job, (), nobody)
        changed = await facts(stage, LabelsChanged)
        assert Counter(event.subject for event in changed) == Counter(ids)
        assert {(event.causationid, event.actor, event.reason) for event in changed} == {
            (f"job/{job.id}", "ada", "enough")
        }
        assert {(event.data.labels["team"], *event.data.removed) for event in changed} == {("blue", "old")}

    on_stage(scenario)


def test_each_target_is_asked_once() -> None:
    each_target_is_asked_once()


def test_who_checks_the_log_sees_what_a_job_asked_twice_or_never_was_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(stage: Stage) -> None:
        ids = await submitted(stage, 3)
        job = await opened(stage, "label", ids, labels={"team": "blue"})
        await stage.callers.jobs.complete(job, (), nobody)
        assert await breaches(stage) == []
        fresh = itertools.count(1)
        monkeypatch.setattr(Job, "command_id", lambda *_: f"{next(fresh):032x}")
        await stage.callers.jobs.complete(job, (), nobody)
        found = await breaches(stage)
        assert {breach.promise for breach in found} == {4}
        assert f"job/{job.id} never was to ask for this" in found[0].what

    on_stage(scenario)


async def breaches(stage: Stage) -> list[Breach]:
    log: dict[int, list[tuple[bytes, int]]] = {}
    for event in await stage.history():
        log.setdefault(event.shard, []).append((encode_event(event), event.sequence))
    return check_log(log).breaches.kept


def test_the_same_key_is_the_same_job_and_another_body_is_refused() -> None:
    async def scenario(stage: Stage) -> None:
        ids = await submitted(stage, 2)
        first = await opened(stage, "hold", ids)
        assert (await opened(stage, "hold", ids)).id == first.id
        assert (await opened(stage, "hold", ids, key="other")).id != first.id
        request = JobRequest(action="release", executions=ids)
        assert (await problem_of(stage.callers.open_job(request, found(*ids), "ada", "k"))).kind == "key-reused"

    on_stage(scenario)


def test_what_was_asked_already_is_not_sent_again() -> None:
    async def scenario(stage: Stage) -> None:
        ids = await submitted(stage, 4)
        job = await opened(stage, "hold", ids)
        traced = {job.command_id(target) for target in job.targets()[:3]}
        await stage.callers.jobs.complete(job, traced, nobody)
        assert [event.subject for event in await facts(stage, Held)] == ids[3:]

    on_stage(scenario)


def test_a_ledger_that_is_away_is_waited_for_and_the_job_goes_on_where_it_was() -> None:
    async def scenario(stage: Stage) -> None:
        ids = await submitted(stage, 3)
        job = await opened(stage, "hold", ids)
        await stage.stop_ledger()
        with pytest.raises(Transient):
            await stage.callers.jobs.complete(job, (), nobody)
        await stage.start_ledger()
        await stage.callers.jobs.complete(job, (), nobody)
        assert sorted(event.subject for event in await facts(stage, Held)) == sorted(ids)

    on_stage(scenario)


@pytest.mark.parametrize("where", [{"twin": None}, {"status": []}, {"pipeline": ["load"], "label": [], "q": None}])
def test_a_filter_that_narrows_nothing_is_refused_and_never_finds_everything(where: dict[str, Any]) -> None:
    empty = [f"where.{name}" for name, value in where.items() if not value]
    assert [each.field for each in JobRequest(action="abort", where=where).wrong()] == empty
    assert not JobRequest(action="abort", where={"held": False, "priority": 0}).wrong()


def test_more_than_one_piece_of_a_shard_is_asked_in_order() -> None:
    async def scenario(stage: Stage) -> None:
        ids = await submitted(stage, 3 * (CHUNK + 5))
        job = await opened(stage, "hold", ids)
        await stage.callers.jobs.complete(job, (), nobody)
        assert sorted(event.subject for event in await facts(stage, Held)) == sorted(ids)

    on_stage(scenario)


def test_a_retry_by_a_job_makes_each_new_execution_once() -> None:
    async def scenario(stage: Stage) -> None:
        failed = {one.id: one for one in [await ended(stage, Status.FAILED, n) for n in range(3)]}

        async def first_events(execution_ids: Sequence[str]) -> Mapping[str, Ended]:
            return {one: failed[one] for one in execution_ids}

        job = await opened(stage, "retry", list(failed))
        for _ in range(2):
            await stage.callers.jobs.complete(job, (), first_events)
        made = [event for event in await facts(stage, Queued) if event.data.link]
        assert sorted(event.data.link.to for event in made) == sorted(failed)
        assert {event.data.origin.source for event in made} == {f"job/{job.id}"}
        assert {event.reason for event in made} == {"enough"}

    on_stage(scenario)
