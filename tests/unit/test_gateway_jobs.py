"""Jobs without HTTP and views: what is asked of the ledgers, by one gateway or by several, once or again."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from execution_ledger.errors import Transient
from execution_ledger.gateway.stream.tail import Tail
from execution_ledger.gateway.writes.again import Ended
from execution_ledger.gateway.writes.commands import CommandSender
from execution_ledger.gateway.writes.jobs import CHUNK, Job, Targets, job_of
from execution_ledger.gateway.writes.requests import JobRequest
from execution_ledger.lifecycle import end_tasks
from execution_ledger.messages.events import CommandRejected, Event, Held, LabelsChanged, Queued, encode_event
from execution_ledger.messages.parts import JobAction, Status
from execution_ledger.messages.payload import json_payload
from execution_ledger.messages.steps import REUSED_BYTES_MAX, Reusable, Reused
from execution_ledger.verify.findings import Breach
from execution_ledger.verify.log.history import check_log
from unit.gateway_stage import DECIDE_WAIT_S, Stage, on_stage, problem_of
from unit.test_gateway_again import FROM_FAILED, GIVEN, STEPPED, ended, ended_stepped


def found(*ids: str) -> Callable[[], Coroutine[Any, Any, Targets]]:
    async def find() -> Targets:
        return Targets(ids)

    return find


class Ends:
    """What the views would say of these."""

    def __init__(self, *ended: Ended) -> None:
        self._ended = {one.id: one for one in ended}

    async def first_events(self, execution_ids: Sequence[str]) -> Mapping[str, Ended]:
        return {one: replace(self._ended[one], given={}) for one in execution_ids}

    async def given(self, execution_id: str) -> Reusable:
        return self._ended[execution_id].given


NOBODY = Ends()  # only what runs again is read


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
                await sender.jobs.complete(job, (), NOBODY)
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
        await stage.callers.jobs.complete(job, (), NOBODY)
        assert await breaches(stage) == []
        fresh = itertools.count(1)
        monkeypatch.setattr(Job, "command_id", lambda *_: f"{next(fresh):032x}")
        await stage.callers.jobs.complete(job, (), NOBODY)
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
        await stage.callers.jobs.complete(job, traced, NOBODY)
        assert [event.subject for event in await facts(stage, Held)] == ids[3:]

    on_stage(scenario)


def test_a_ledger_that_is_away_is_waited_for_and_the_job_goes_on_where_it_was() -> None:
    async def scenario(stage: Stage) -> None:
        ids = await submitted(stage, 3)
        job = await opened(stage, "hold", ids)
        await stage.stop_ledger()
        with pytest.raises(Transient):
            await stage.callers.jobs.complete(job, (), NOBODY)
        await stage.start_ledger()
        await stage.callers.jobs.complete(job, (), NOBODY)
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
        await stage.callers.jobs.complete(job, (), NOBODY)
        assert sorted(event.subject for event in await facts(stage, Held)) == sorted(ids)

    on_stage(scenario)


async def again(stage: Stage) -> list[Event]:
    return [event for event in await facts(stage, Queued) if event.data.link]


def test_a_retry_by_a_job_makes_each_new_execution_once() -> None:
    async def scenario(stage: Stage) -> None:
        failed = [await ended(stage, Status.FAILED, n) for n in range(3)]
        job = await opened(stage, "retry", [one.id for one in failed])
        for _ in range(2):
            await stage.callers.jobs.complete(job, (), Ends(*failed))
        made = await again(stage)
        assert sorted(event.data.link.to for event in made) == sorted(one.id for one in failed)
        assert {event.data.origin.source for event in made} == {f"job/{job.id}"}
        assert {event.reason for event in made} == {"enough"}

    on_stage(scenario)


OTHERS = {"load": Reused(execution=GIVEN["load"].execution, outputs=json_payload({"rows": 4}))}
TOO_LARGE = {"load": Reused(execution=GIVEN["load"].execution, outputs=json_payload({"text": "x" * REUSED_BYTES_MAX}))}


def test_each_is_rerun_from_its_own_failed_step_and_what_cannot_be_is_told_in_the_words_of_a_single_call() -> None:
    """By two gateways, of which each begins anew."""

    async def scenario(stage: Stage) -> None:
        failed, other = await ended_stepped(stage), await ended_stepped(stage, given=OTHERS)
        completed, plain = await ended_stepped(stage, Status.COMPLETED), await ended(stage)
        large = await ended_stepped(stage, given=TOO_LARGE)
        targets = (completed, failed, plain, other, large)
        job = await opened(stage, "rerun", [one.id for one in targets], changes=FROM_FAILED)
        async with stage.another_gateway() as elsewhere:
            for sender in (stage.callers, elsewhere, stage.callers):
                await sender.jobs.complete(job, (), Ends(*targets))
        assert {event.data.link.to: event.data.reused for event in await again(stage)} == {
            failed.id: GIVEN,
            other.id: OTHERS,
        }
        said = {event.subject: event.data.refusal for event in await facts(stage, CommandRejected)}
        assert {one: refusal.code for one, refusal in said.items()} == {
            completed.id: "none_failed",
            plain.id: "none_completed",
            large.id: "outputs_too_large",
        }
        for one in (completed, plain, large):
            single = await problem_of(stage.callers.rerun(one, FROM_FAILED, "ada"))
            assert (single.more["code"], single.detail) == (said[one.id].code, said[one.id].detail)
        assert 4 not in {breach.promise for breach in await breaches(stage)}

    on_stage(scenario)


def test_what_was_declined_stays_so_also_where_it_would_be_possible_by_now() -> None:
    async def scenario(stage: Stage) -> None:
        failed = await ended_stepped(stage)
        job = await opened(stage, "rerun", [failed.id], changes=FROM_FAILED)
        await stage.callers.catalog.pipeline(STEPPED.model_copy(update={"code": "c2"}), "ada")
        await stage.callers.jobs.complete(job, (), Ends(failed))
        [refused] = await facts(stage, CommandRejected)
        assert (refused.subject, refused.data.refusal.code) == (failed.id, "version_changed")
        assert (refused.causationid, refused.actor, refused.reason) == (f"job/{job.id}", "ada", "enough")
        fitting = replace(failed, asked=(await failed_at_fit(stage)).asked)
        await stage.callers.jobs.complete(job, (), Ends(fitting))
        assert await again(stage) == []

    on_stage(scenario)


async def failed_at_fit(stage: Stage) -> Ended:
    """Of the pipeline's newest version."""
    return replace(await ended(stage, pipeline="stepped"), given=GIVEN)


def test_a_twin_that_has_gone_since_ends_no_job() -> None:
    async def scenario(stage: Stage) -> None:
        gone, here = await ended(stage, twin="pump-7"), await ended(stage, twin="pump-8")
        job = await opened(stage, "rerun", [gone.id, here.id])
        await stage.callers.catalog.remove_twin("pump-7", "ada")
        await stage.callers.jobs.complete(job, (), Ends(gone, here))
        assert [event.data.link.to for event in await again(stage)] == [here.id]
        [refused] = await facts(stage, CommandRejected)
        assert "no twin 'pump-7' is registered" in refused.data.refusal.detail

    on_stage(scenario)


def test_a_gateway_that_is_behind_declines_nothing_by_its_old_catalog() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.callers.catalog.pipeline(STEPPED, "ada")
        tail = Tail(stage.log)
        reading = stage.world.spawn(tail.run(), "a tail that stands still")
        await tail.caught_up.wait()
        await end_tasks([reading])
        await stage.callers.catalog.pipeline(STEPPED.model_copy(update={"code": "c2"}), "ada")
        failed = await failed_at_fit(stage)
        job = await opened(stage, "rerun", [failed.id], changes=FROM_FAILED)
        behind = CommandSender(stage.log, stage.world, tail, DECIDE_WAIT_S)
        with pytest.raises(Transient):
            await behind.jobs.complete(job, (), Ends(failed))
        await stage.callers.jobs.complete(job, (), Ends(failed))
        assert [event.data.link.to for event in await again(stage)] == [failed.id]

    on_stage(scenario)


def test_steps_of_many_ran_with_what_they_ran_with() -> None:
    body = {
        "action": "rerun",
        "executions": ["a"],
        "changes": {"from_failed": True, "newest": True, "inputs": {"n": 1}},
    }
    wrong = {error.field: error.detail for error in JobRequest.model_validate(body).wrong()}
    assert list(wrong) == ["changes.inputs", "changes.newest"]
    assert "cannot change: steps that have completed ran with the old one" in wrong["changes.inputs"]
    fitting = {"action": "rerun", "executions": ["a"], "changes": {"from_failed": True, "labels": {"a": "b"}}}
    assert JobRequest.model_validate(fitting).wrong() == []
