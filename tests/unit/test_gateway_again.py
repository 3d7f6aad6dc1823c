"""Retry and rerun without HTTP and views: what is asked of the ledger, and what is refused before that."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from execution_ledger.gateway.edge.problems import Away, Refused
from execution_ledger.gateway.writes.again import Ended, check_properties, ended_of, in_order
from execution_ledger.gateway.writes.batches import BatchAnswer
from execution_ledger.gateway.writes.commands import CommandSender
from execution_ledger.gateway.writes.requests import BatchRetryRequest, RerunRequest, RetryRequest
from execution_ledger.gateway.writes.sending import UNDECIDED_MAX, Answer
from execution_ledger.log.protocol import Lane, Topic
from execution_ledger.messages.commands import RequestAbort
from execution_ledger.messages.definition import StepDefinition
from execution_ledger.messages.events import Event, encode_event
from execution_ledger.messages.ids import make_id, shard_of
from execution_ledger.messages.parts import Link, Policy, Status
from execution_ledger.messages.payload import Payload, json_payload
from execution_ledger.messages.steps import Reusable, Reused
from unit.gateway_stage import DOUBLE, SHARDS, TWO_INPUTS, Stage, double, on_stage, problem_of

SAME = RetryRequest()
CHANGED = {"policy": {"retries": 5}, "options": {"write": True}}
KEPT = (
    *("pipeline", "inputs", "properties", "own_properties", "twin", "template", "experiment"),
    *("mode", "options", "labels", "priority", "pool", "policy"),
)
POLICY = {"retries": 2, "timeout_ms": 60_000, "backoff": {"first_ms": 5}}
MORE: dict[str, Any] = {"twin": "pump-7", "mode": "experiment", "policy": POLICY, "priority": 3, "labels": {"a": "b"}}


async def ended(stage: Stage, status: Status = Status.FAILED, n: Any = 1, **more: Any) -> Ended:
    """What the views would say of one that was submitted and has ended since."""
    answer = await stage.submit(n, **more)
    return ended_of(row(await queued(stage, answer.subject), status))


def row(event: Event, status: Status) -> dict[str, Any]:
    return {
        "id": event.subject,
        "name": event.data.name,
        "status": status,
        "ended_at": None if status is Status.QUEUED else 1,
        "event": encode_event(event),
    }


async def queued(stage: Stage, execution_id: str) -> Event:
    [event] = [event for event in await stage.queued() if event.subject == execution_id]
    return event


async def retry(stage: Stage, batch_id: str, failed: list[Ended]) -> BatchAnswer:
    return await stage.callers.retry_batch(batch_id, failed, BatchRetryRequest(), "ada", "k")


async def asked(stage: Stage, answer: Answer) -> Any:
    assert answer.trace
    return (await queued(stage, answer.trace.outcome.subject)).data


@pytest.mark.parametrize("status", [Status.FAILED, Status.ABORTED])
def test_a_retry_asks_for_the_very_same_on_the_same_shard(status: Status) -> None:
    async def scenario(stage: Stage) -> None:
        first = await ended(stage, status, properties={"q": "ü\x00"}, **MORE)
        await stage.callers.catalog.pipeline(DOUBLE.model_copy(update={"code": "c2"}), "ada")
        answer = await stage.callers.retry(first, SAME, "ada")
        again = await asked(stage, answer)
        assert {name: getattr(again, name) for name in KEPT} == {name: getattr(first.asked, name) for name in KEPT}
        assert again.link == Link(how="retry", to=first.id)
        assert again.origin is None
        assert shard_of(answer.subject) == first.shard
        assert answer.subject != first.id

    on_stage(scenario)


def test_a_retry_of_a_retry_names_the_one_before_it() -> None:
    async def scenario(stage: Stage) -> None:
        first = await ended(stage)
        answer = await stage.callers.retry(first, SAME, "ada")
        second = ended_of(row(await queued(stage, answer.subject), Status.FAILED))
        third = await asked(stage, await stage.callers.retry(second, SAME, "ada"))
        assert third.link == Link(how="retry", to=second.id)

    on_stage(scenario)


def test_a_key_makes_one_retry_of_each_and_another_one_more() -> None:
    async def scenario(stage: Stage) -> None:
        one, two = await ended(stage), await ended(stage)
        first = await stage.callers.retry(one, SAME, "ada", "k")
        async with stage.another_gateway() as elsewhere:
            again = await elsewhere.retry(one, SAME, "ada", "k")
        assert (again.repeated, again.subject) == (True, first.subject)
        assert (await stage.callers.retry(two, SAME, "ada", "k")).subject != first.subject
        assert (await stage.callers.retry(one, SAME, "ada", "k2")).subject != first.subject
        assert len(await stage.queued()) == 5

    on_stage(scenario)


def test_what_lives_has_completed_or_lacks_its_inputs_is_not_retried() -> None:
    async def scenario(stage: Stage) -> None:
        event = await queued(stage, (await stage.submit()).subject)
        refusals = {}
        for status in (Status.QUEUED, Status.COMPLETED):
            problem = await problem_of(refused(stage.callers, row(event, status)))
            refusals[problem.more["code"]] = problem.detail
        bare = event.data.model_copy(update={"inputs": Payload(sha256="0", size=1, object="x")})
        problem = await problem_of(refused(stage.callers, row(event.model_copy(update={"data": bare}), Status.FAILED)))
        refusals[problem.more["code"]] = problem.detail
        assert list(refusals) == ["not_ended", "already_completed", "no_inputs"]
        assert "Wait for its end, or abort it" in refusals["not_ended"]
        assert f"exledger rerun {event.data.name}" in refusals["already_completed"]
        assert len(await stage.queued()) == 1

    async def refused(callers: CommandSender, found: dict[str, Any]) -> Answer:
        return await callers.retry(ended_of(found), SAME, "ada")

    on_stage(scenario)


def test_a_rerun_changes_what_it_says_and_keeps_the_rest() -> None:
    async def scenario(stage: Stage) -> None:
        first = await ended(stage, Status.COMPLETED, **MORE)
        changes = RerunRequest.model_validate({"inputs": {"n": 2}, "labels": {"c": "d"}, **CHANGED})
        rerun = await asked(stage, await stage.callers.rerun(first, changes, "ada"))
        assert rerun.inputs.value() == {"n": 2}
        assert rerun.labels == {"a": "b", "c": "d"}
        assert rerun.policy == first.asked.policy.model_copy(update={"retries": 5})
        assert rerun.options.model_dump() == {"train": True, "plot": True, "write": True}
        assert (rerun.twin, rerun.mode, rerun.priority) == ("pump-7", "experiment", 3)
        assert rerun.link == Link(how="rerun", to=first.id)
        other = RerunRequest(mode="production", twin="pump-8", priority=-1, properties={"q": 1})
        rerun = await asked(stage, await stage.callers.rerun(first, other, "ada"))
        assert rerun.options.model_dump() == {"train": False, "plot": False, "write": True}
        assert (rerun.twin, rerun.priority, rerun.properties.value()) == ("pump-8", -1, {"q": 1})
        assert rerun.inputs == first.asked.inputs

    on_stage(scenario)


def test_a_rerun_at_most_once_gives_up_the_retries_of_before() -> None:
    async def scenario(stage: Stage) -> None:
        first = await ended(stage, policy={"retries": 3})
        changes = RerunRequest.model_validate({"policy": {"delivery": "at_most_once"}})
        rerun = await asked(stage, await stage.callers.rerun(first, changes, "ada"))
        assert rerun.policy == Policy(delivery="at_most_once")

    on_stage(scenario)


def test_a_rerun_runs_the_version_of_before_unless_it_asks_for_the_newest() -> None:
    async def scenario(stage: Stage) -> None:
        first = await ended(stage)
        await stage.callers.catalog.pipeline(TWO_INPUTS, "ada")
        assert (await asked(stage, await stage.callers.rerun(first, RerunRequest(), "ada"))).pipeline.version == 1
        problem = await problem_of(stage.callers.rerun(first, RerunRequest(newest=True), "ada"))
        assert [error.field for error in problem.errors] == ["inputs.m"]
        newest = RerunRequest(newest=True, inputs={"m": 2})
        rerun = await asked(stage, await stage.callers.rerun(first, newest, "ada"))
        assert (rerun.pipeline.version, rerun.inputs.value()) == (2, {"n": 1, "m": 2})

    on_stage(scenario)


def test_a_keyed_rerun_that_fits_no_longer_gets_its_first_answer() -> None:
    async def scenario(stage: Stage) -> None:
        first, newest = await ended(stage), RerunRequest(newest=True)
        answer = await stage.callers.rerun(first, newest, "ada", "k")
        await stage.callers.catalog.pipeline(TWO_INPUTS, "ada")
        again = await stage.callers.rerun(first, newest, "ada", "k")
        assert (again.repeated, again.subject) == (True, answer.subject)
        other = RerunRequest(newest=True, priority=1)
        assert (await problem_of(stage.callers.rerun(first, other, "ada", "k"))).kind == "key-reused"

    on_stage(scenario)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"inputs": {"n": "two"}}, "inputs.n"),
        ({"inputs": {"x": 1}}, "inputs.x"),
        ({"inputs": {"n": 1, "x": "y" * 60_000}}, "inputs.x"),
        ({"labels": {f"l{n}": "" for n in range(32)}}, "labels"),
        ({"options": {"pool": "gpu"}}, "options.pool"),
        ({"properties": {"q": "y" * 60_000}}, "properties"),
        ({"policy": {"delivery": "at_most_once", "retries": 1}}, "policy.retries"),
    ],
)
def test_changes_that_cannot_be_are_named_and_nothing_exists(changes: dict[str, Any], field: str) -> None:
    async def scenario(stage: Stage) -> None:
        first = await ended(stage, labels={"a": "b"})
        problem = await problem_of(stage.callers.rerun(first, RerunRequest.model_validate(changes), "ada"))
        assert problem.kind == "invalid-request"
        assert field in [error.field for error in problem.errors]
        assert len(await stage.queued()) == 1

    on_stage(scenario)


def test_too_many_are_refused_like_any_other_new_execution() -> None:
    async def scenario(stage: Stage) -> None:
        first = await ended(stage)
        await stage.stop_ledger()
        full = RequestAbort(command_id="c", actor="ada", execution_id=first.id)
        stage.tail.traces.acknowledged(stage.tail.traces.expect(first.shard, full), UNDECIDED_MAX)
        assert (await problem_of(stage.callers.retry(first, SAME, "ada"))).kind == "too-busy"
        assert (await problem_of(stage.callers.rerun(first, RerunRequest(), "ada"))).kind == "too-busy"

    on_stage(scenario)


def test_a_batch_is_retried_in_its_order_and_completed_by_its_key() -> None:
    async def scenario(stage: Stage) -> None:
        first = await stage.callers.open_batch([double(n) for n in range(9)], "ada")
        events = {event.subject: event for event in await stage.queued()}
        failed = [ended_of(row(events[child.execution_id], Status.FAILED)) for child in first.children[2:]]
        assert [each.place for each in failed] == list(range(2, 9))
        broken = stage.log.refusing
        broken |= {Lane(Topic.COMMANDS, shard) for shard in range(1, SHARDS) if shard != shard_of(first.batch_id)}
        problem = await problem_of(retry(stage, first.batch_id, failed))
        assert problem.kind == "outcome-unknown"
        broken.clear()
        answer = await retry(stage, first.batch_id, failed)
        assert answer.opened.repeated
        assert [child.status for child in answer.children] == [Status.QUEUED] * 7
        made = {event.subject: event for event in await stage.queued()}
        children = [made[child.execution_id] for child in answer.children]
        assert [child.data.link.to for child in children] == [each.id for each in failed]
        assert [child.data.inputs.value() for child in children] == [{"n": n} for n in range(2, 9)]
        assert {child.data.origin.source for child in children} == {f"batch/{answer.batch_id}"}
        assert all(shard_of(child.subject) == shard_of(child.data.link.to) for child in children)
        assert len(made) == 16
        [opened] = [e.data for e in await stage.history() if e.data.TYPE == "batch.opened.v1" and e.data.link]
        assert (opened.link, opened.count) == (Link(how="retry", to=first.batch_id), 7)

    on_stage(scenario)


def test_views_that_were_set_back_meanwhile_leave_none_of_a_batch_out() -> None:
    over = {"count": 3, "failed": 2, "aborted": 1}

    async def scenario(stage: Stage) -> None:
        found = [await ended(stage, Status.FAILED, n) for n in range(2)]
        assert in_order("b", found, over, ["failed"]) == found
        with pytest.raises(Away, match="hold 1 of the 2 executions"):
            in_order("b", found[:1], over, ["failed"])
        with pytest.raises(Refused, match="has ended as aborted"):
            in_order("b", [], over | {"aborted": 0}, ["aborted"])

    on_stage(scenario)


# --- from the step that failed ------------------------------------------------------------------------------------

STEPPED = DOUBLE.model_copy(
    update={"name": "stepped", "steps": [StepDefinition(name="load"), StepDefinition(name="fit", needs=["load"])]}
)
GIVEN = {"load": Reused(execution=make_id(1_700_000_000_000, 1, 1), outputs=json_payload({"rows": 3}))}
FROM_FAILED = RerunRequest(from_failed=True)


async def ended_stepped(stage: Stage, status: Status = Status.FAILED, given: Reusable | None = None) -> Ended:
    await stage.callers.catalog.pipeline(STEPPED, "ada")
    return replace(await ended(stage, status, pipeline="stepped"), given=GIVEN if given is None else given)


def test_a_submit_carries_the_steps_of_its_version() -> None:
    async def scenario(stage: Stage) -> None:
        await ended_stepped(stage)
        await stage.submit()
        stepped, plain = [event.data for event in await stage.queued()]
        if plain.steps:
            stepped, plain = plain, stepped
        assert (stepped.steps, stepped.reused) == ({"load": [], "fit": ["load"]}, None)
        assert plain.steps is None

    on_stage(scenario)


def test_a_rerun_from_the_failed_step_takes_over_what_was_given_and_so_does_its_retry() -> None:
    async def scenario(stage: Stage) -> None:
        failed = await ended_stepped(stage)
        answer = await stage.callers.rerun(failed, FROM_FAILED, "ada", "k")
        again = await stage.callers.rerun(failed, FROM_FAILED, "ada", "k")
        assert (again.repeated, again.trace and again.trace.outcome.subject) == (True, answer.subject)
        fact = await asked(stage, answer)
        assert (fact.reused, fact.steps, fact.link) == (GIVEN, STEPPED.needs, Link(how="rerun", to=failed.id))
        [event] = [event for event in await stage.queued() if event.subject == answer.subject]
        retried = await stage.callers.retry(ended_of(row(event, Status.FAILED)), SAME, "ada")
        assert (await asked(stage, retried)).reused == GIVEN
        whole = await stage.callers.rerun(failed, RerunRequest(inputs={"n": 2}), "ada")
        assert (await asked(stage, whole)).reused is None

    on_stage(scenario)


@pytest.mark.parametrize(
    ("status", "given", "changes", "words"),
    [
        (Status.COMPLETED, None, {}, "has completed: none of its steps is left"),
        (Status.FAILED, {}, {}, "No step of .* has completed. Run all of it again"),
        (Status.FAILED, None, {"inputs": {"n": 2}}, "inputs: cannot change"),
        (Status.FAILED, None, {"twin": "pump-8"}, "twin: cannot change"),
        (Status.FAILED, None, {"newest": True}, "newest: cannot change"),
        (Status.ABORTED, "large", {}, "gave 120,014 bytes; at most 120,000 are taken over"),
    ],
)
def test_what_would_mix_what_does_not_belong_together_is_refused(
    status: Status, given: Any, changes: dict[str, Any], words: str
) -> None:
    large = {"load": Reused(execution=GIVEN["load"].execution, outputs=json_payload({"text": "x" * 120_003}))}

    async def scenario(stage: Stage) -> None:
        failed = await ended_stepped(stage, status, large if given == "large" else given)
        problem = await problem_of(stage.callers.rerun(failed, RerunRequest(from_failed=True, **changes), "ada"))
        told = [f"{error.field}: {error.detail}" for error in problem.errors] or [problem.detail]
        assert re.search(words, " ".join(told))
        assert len(await stage.queued()) == 1

    on_stage(scenario)


def test_a_twin_whose_values_have_changed_since_is_run_whole() -> None:
    async def scenario(stage: Stage) -> None:
        failed = await ended_stepped(stage)
        kept = json_payload({"kw": 3})
        ran = replace(failed, asked=failed.asked.model_copy(update={"properties": kept, "twin": "pump-7"}))
        check_properties(failed, None)
        check_properties(ran, kept)
        for now in (None, json_payload({"kw": 4})):
            with pytest.raises(Refused) as refused:
                check_properties(ran, now)
            assert refused.value.problem.more["code"] == "properties_changed"

    on_stage(scenario)


def test_a_pipeline_that_has_changed_since_is_run_whole() -> None:
    async def scenario(stage: Stage) -> None:
        failed = await ended_stepped(stage)
        await stage.callers.catalog.pipeline(STEPPED.model_copy(update={"code": "c2"}), "ada")
        problem = await problem_of(stage.callers.rerun(failed, FROM_FAILED, "ada"))
        assert "ran version 1 of stepped, which is now at version 2" in problem.detail
        assert problem.more["code"] == "version_changed"
        assert problem.detail.endswith(f"exledger rerun {failed.name} --newest"), "no runner may offer the old version"

    on_stage(scenario)


@pytest.mark.parametrize(
    ("steps", "field", "words"),
    [
        ([("a", ["b"]), ("b", ["a"])], "steps[0]", "'a' needs 'b', which is no step before it"),
        ([("a", ["a"])], "steps[0]", "'a' needs 'a', which is no step before it"),
        ([("a", []), ("a", [])], "steps[1]", "there are two steps named 'a'"),
        ([("a", []), ("b", ["a", "a"])], "steps[1]", "'b' names a need twice"),
    ],
)
def test_steps_that_could_never_run_are_not_registered(
    steps: list[tuple[str, list[str]]], field: str, words: str
) -> None:
    async def scenario(stage: Stage) -> None:
        wrong = [StepDefinition(name=name, needs=needs) for name, needs in steps]
        problem = await problem_of(stage.callers.catalog.pipeline(STEPPED.model_copy(update={"steps": wrong}), "ada"))
        assert [(error.field, error.detail) for error in problem.errors] == [(field, words)]

    on_stage(scenario)
