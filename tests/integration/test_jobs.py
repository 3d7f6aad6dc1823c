"""Holds, labels and jobs over real HTTP, a real Kafka and a real Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from execution_ledger import Context, pipeline
from execution_ledger.clock import real_world
from execution_ledger.dispatcher.service import DispatcherService
from execution_ledger.messages.ids import make_id, shard_of
from execution_ledger.runner.register import register_over_http
from execution_ledger.runner.service import RunnerService
from integration.test_again import aborted, post
from integration.test_gateway import DEFINITION, SHARDS, TOKEN, Cluster, cluster, everything, get, ready, submit
from unit.test_runner_steps import whole

__all__ = ["cluster"]  # the fixture

PUMPS = ["pump-1", "pump-2", "pump-3", "pump-4", "pump-5"]


async def ask(http: httpx.AsyncClient, key: str = "", **body: Any) -> dict[str, Any]:
    answer = await post(http, "/v1/jobs", body, key)
    assert answer.status_code in (200, 201), answer.text
    opened: dict[str, Any] = answer.json()
    return opened


async def ended(http: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    record = await get(http, f"/v1/jobs/{job_id}", wait=20)
    assert record["status"] == "ended", record
    return record


async def submitted(http: httpx.AsyncClient) -> list[dict[str, Any]]:
    return [await submit(http, n, labels={"team": "blue", "pump": pump}) for n, pump in enumerate(PUMPS)]


async def test_what_waits_is_held_until_it_is_released_and_labels_change_in_every_state(cluster: Cluster) -> None:
    async with everything(cluster) as (_, http):
        one = await submit(http, 1, labels={"team": "blue", "old": "x"})
        path = f"/v1/executions/{one['name']}"
        assert (await post(http, f"{path}/hold", {"reason": "wait for the pump"}, key="h")).status_code == 200
        assert (await post(http, f"{path}/hold", {"reason": "wait for the pump"}, key="h")).status_code == 200
        held = await get(http, path)
        assert held["status"] == "queued"
        assert (held["hold"]["reason"], bool(held["hold"]["by"])) == ("wait for the pump", True)
        assert (await post(http, f"{path}/hold")).json()["code"] == "already_held"
        assert [each["id"] for each in (await get(http, "/v1/executions", held="true"))["items"]] == [one["id"]]
        assert (await post(http, f"{path}/release")).status_code == 200
        assert (await post(http, f"{path}/release")).json()["code"] == "not_held"
        assert (await get(http, path))["hold"] is None
        change = {"labels": {"team": "red", "old": None, "new": "1"}}
        assert (await post(http, f"{path}/label", change)).status_code == 200
        assert (await get(http, path))["labels"] == {"new": "1", "team": "red"}
        assert (await post(http, f"{path}/abort")).json()["status"] == "aborted"
        assert (await post(http, f"{path}/hold")).json()["code"] == "already_ended"
        assert (await post(http, f"{path}/label", {"labels": {"new": None}})).status_code == 200
        assert (await get(http, path))["labels"] == {"team": "red"}
        found = await get(http, "/v1/executions", label="team=red")
        assert [each["id"] for each in found["items"]] == [one["id"]]
        types = [each["type"].split(".", 1)[1] for each in (await get(http, f"{path}/events"))["items"]]
        assert types.count("labels.changed.v1") == 2


async def test_labels_have_a_bound_and_an_execution(cluster: Cluster) -> None:
    async with everything(cluster) as (_, http):
        one = await submit(http, 1, labels={f"k{n}": "v" for n in range(31)})
        path = f"/v1/executions/{one['id']}/label"
        assert (await post(http, path, {"labels": {"a": "1", "b": "2"}})).json()["code"] == "too_many_labels"
        assert (await post(http, path, {"labels": {"a": "1", "k0": "2"}})).status_code == 200
        assert (await post(http, path, {"labels": {}})).status_code == 422
        nobody = make_id(1_700_000_000_000, 1, 1)
        assert (await post(http, f"/v1/executions/{nobody}/label", {"labels": {"a": "1"}})).status_code == 404


async def test_a_dry_run_says_what_a_job_would_do_and_the_job_does_just_that(cluster: Cluster) -> None:
    async with everything(cluster) as (_, http):
        ones = await submitted(http)
        where = {"pipeline": ["double"], "label": ["team=blue"]}
        preview = await ask(http, action="abort", where=where, dry_run=True)
        assert (preview["count"], [each["id"] for each in preview["sample"]]) == (5, [one["id"] for one in ones])
        assert {each["status"] for each in (await get(http, "/v1/executions"))["items"]} == {"queued"}
        await post(http, f"/v1/executions/{ones[0]['id']}/abort")
        body = {"action": "abort", "where": where, "reason": "wrong pump"}
        changed = await post(http, "/v1/jobs", {**body, "targets_digest": preview["targets_digest"]})
        assert changed.json()["code"] == "targets_changed"
        opened = await ask(http, "k", **body)
        assert opened["count"] == 4
        assert (await ask(http, "k", **body))["id"] == opened["id"]
        record = await ended(http, opened["id"])
        assert (record["done"], record["refused"], record["waiting"]) == (4, 0, 0)
        assert sum(each["done"] for each in record["shards"]) == 4
        assert {each["shard"] for each in record["shards"]} == {shard_of(one["id"]) for one in ones[1:]}
        last = await get(http, f"/v1/executions/{ones[-1]['id']}")
        assert (last["status"], last["abort"]["reason"]) == ("aborted", "wrong pump")
        page = await get(http, "/v1/jobs")
        assert [(each["id"], each["status"], each["done"]) for each in page["items"]] == [(opened["id"], "ended", 4)]
        assert len((await get(http, "/v1/executions", job=opened["id"]))["items"]) == 4
        other = await post(http, "/v1/jobs", {**body, "action": "hold"}, key="k")
        assert other.json()["type"].endswith("key-reused")


async def test_a_job_tells_whom_the_ledger_refused_and_why(cluster: Cluster) -> None:
    async with everything(cluster) as (_, http):
        ones = await submitted(http)
        await post(http, f"/v1/executions/{ones[1]['id']}/hold")
        names = [one["name"] for one in ones[:3]]
        record = await ended(http, (await ask(http, action="hold", executions=names))["id"])
        assert (record["done"], record["codes"]) == (2, {"already_held": 1})
        said = "It is held already. Release it when it may run."
        assert record["refusals"] == [{"id": ones[1]["id"], "code": "already_held", "detail": said}]
        released = await ended(http, (await ask(http, action="release", where={"label": ["pump=pump-2"]}))["id"])
        assert released["done"] == 1
        held = await get(http, "/v1/executions", held="true")
        assert {each["id"] for each in held["items"]} == {ones[0]["id"], ones[2]["id"]}


async def test_what_has_ended_is_retried_rerun_and_labelled_by_jobs(cluster: Cluster) -> None:
    async with everything(cluster) as (_, http):
        ones = [await aborted(http, n) for n in range(4)]
        retried = await ended(http, (await ask(http, action="retry", where={"status": ["aborted"]}))["id"])
        assert retried["done"] == 4
        for one in ones:
            [again] = (await get(http, f"/v1/executions/{one['id']}"))["linked"]
            assert (again["link"], again["status"]) == ("retry", "queued")
        await http.put("/v1/pipelines/double", json=DEFINITION | {"code": "c2"})
        ids = [one["id"] for one in ones]
        rerun = await ask(http, action="rerun", executions=ids, changes={"newest": True, "inputs": {"n": 7}})
        assert (await ended(http, rerun["id"]))["done"] == 4
        made = (await get(http, "/v1/executions", job=rerun["id"]))["items"]
        assert {(each["pipeline_version"], each["link"]) for each in made} == {(2, "rerun")}
        assert {each["linked_to"] for each in made} == set(ids)
        labelled = await ask(http, action="label", executions=ids, labels={"seen": "yes"})
        assert (await ended(http, labelled["id"]))["done"] == 4
        assert len((await get(http, "/v1/executions", label="seen=yes"))["items"]) == 4
        wrong = await post(
            http, "/v1/jobs", {"action": "rerun", "executions": ids, "changes": {"inputs": {"unknown": 1}}}
        )
        assert (wrong.status_code, ones[0]["name"] in wrong.json()["detail"]) == (422, True)


async def test_a_gateway_completes_at_its_start_what_another_one_has_left(cluster: Cluster) -> None:
    async with everything(cluster) as (_, http):
        await submitted(http)
        async with cluster.gateway() as (service, other):
            await ready(service, other)
            service.gateway.job_work.take = lambda job_id: None  # type: ignore[method-assign]
            opened = await ask(other, action="hold", where={"pipeline": ["double"]})
            assert (await get(other, f"/v1/jobs/{opened['id']}"))["waiting"] == 5
        async with cluster.gateway() as (service, later):
            await ready(service, later)
            assert (await ended(later, opened["id"]))["done"] == 5


# --- from the step that failed -------------------------------------------------------------------------------------

nightly = pipeline("nightly", inputs={"n": "number"}, outputs={"n": "number"})
mended: set[float] = set()


@nightly.step
async def load(ctx: Context, n: float) -> dict[str, Any]:
    return {"rows": n}


@nightly.step(needs=[load])
async def fit(ctx: Context, load: dict[str, Any]) -> dict[str, Any]:
    if load["rows"] and load["rows"] not in mended:
        raise ValueError("no convergence")
    return {"n": load["rows"]}


@asynccontextmanager
async def working(cluster: Cluster, http: httpx.AsyncClient) -> AsyncIterator[None]:
    """A dispatcher and a runner of `nightly` beside everything else."""
    world, settings, partitions = real_world(), cluster.settings, cluster.settings.kafka.inbox_partitions
    register = register_over_http(str(http.base_url), TOKEN)
    runner = RunnerService(cluster.log, world, settings.runner, {"nightly": whole(nightly)}, register, partitions)
    dispatcher = DispatcherService(cluster.log, world, settings.dispatcher, SHARDS, partitions)
    async with cluster.running(dispatcher), cluster.running(runner):
        yield


async def ran(http: httpx.AsyncClient, n: float) -> dict[str, Any]:
    asked = await post(http, "/v1/executions", {"pipeline": "nightly", "inputs": {"n": n}, "policy": {"retries": 0}})
    return await get(http, f"/v1/executions/{asked.json()['id']}", wait=20)


async def test_many_are_rerun_each_from_its_own_failed_step_also_by_another_gateway(cluster: Cluster) -> None:
    async with everything(cluster) as (_, http), working(cluster, http):
        completed, first, second = [await ran(http, n) for n in (0, 1, 2)]
        assert [each["status"] for each in (completed, first, second)] == ["completed", "failed", "failed"]
        never = await aborted(http)
        mended.update((1, 2))
        from_failed: dict[str, Any] = {"action": "rerun", "changes": {"from_failed": True}}
        preview = await ask(http, **from_failed, where={"pipeline": ["nightly"]}, dry_run=True)
        assert [each["id"] for each in preview["sample"]] == [first["id"], second["id"]]
        async with cluster.gateway() as (service, other):
            await ready(service, other)
            service.gateway.job_work.take = lambda job_id: None  # type: ignore[method-assign]
            names = [each["name"] for each in (completed, first, never, second)]
            job = await ask(other, "k", **from_failed, executions=names)
        async with cluster.gateway() as (service, later):
            await ready(service, later)
            record = await ended(later, job["id"])
        assert (record["done"], record["codes"]) == (2, {"none_completed": 1, "none_failed": 1})
        for refusal in record["refusals"]:
            single = await post(http, f"/v1/executions/{refusal['id']}/rerun", {"from_failed": True})
            assert (refusal["code"], refusal["detail"]) == (single.json()["code"], single.json()["detail"])
        assert {each["linked_to"] for each in (await get(http, "/v1/executions", job=job["id"]))["items"]} == {
            first["id"],
            second["id"],
        }
        for failed in (first, second):
            [again] = (await get(http, f"/v1/executions/{failed['id']}"))["linked"]
            rerun = await get(http, f"/v1/executions/{again['id']}", wait=20)
            assert (rerun["link"], rerun["outputs"]) == ("rerun", failed["inputs"])
            assert [(step["name"], step["reused"]) for step in rerun["steps"]] == [
                ("load", failed["id"]),
                ("fit", None),
            ]
        assert (await ask(http, "k", **from_failed, executions=names))["id"] == job["id"]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"action": "abort"}, "where"),
    ({"action": "abort", "where": {}, "executions": []}, "where"),
    ({"action": "abort", "where": {"twin": "a"}, "executions": ["double-1"]}, "where"),
    ({"action": "abort", "where": {"tvin": "a"}}, "where.tvin"),
    ({"action": "abort", "where": {"status": "queued"}}, "where.status"),
    ({"action": "abort", "where": {"status": ["completed"]}}, "where.status"),
    ({"action": "abort", "where": {"status": ["queued"], "twin": None}}, "where.twin"),
    ({"action": "abort", "where": {"status": []}}, "where.status"),
    ({"action": "hold", "where": {"held": True}}, "where.held"),
    ({"action": "hold", "where": {"held": 1}}, "where.held"),
    ({"action": "hold", "where": {"created_after": 1}}, "where.created_after"),
    ({"action": "hold", "where": {"twin": "a"}, "labels": {"a": "b"}}, "labels"),
    ({"action": "label", "where": {"twin": "a"}}, "labels"),
    ({"action": "abort", "where": {"twin": "a"}, "changes": {}}, "changes"),
    ({"action": "rerun", "where": {"twin": "a"}, "changes": {"from_failed": True, "newest": True}}, "changes.newest"),
    ({"action": "rerun", "where": {"status": ["completed"]}, "changes": {"from_failed": True}}, "where.status"),
    ({"action": "explode", "where": {"twin": "a"}}, "action"),
]


async def test_bad_jobs_are_refused_and_change_nothing(cluster: Cluster) -> None:
    async with everything(cluster) as (_, http):
        await submit(http, 1)
        for body, field in BAD:
            answer = await post(http, "/v1/jobs", body)
            assert answer.status_code == 422, (body, answer.text)
            assert field in {each["field"] for each in answer.json()["errors"]}, (body, answer.text)
        nobody = await post(http, "/v1/jobs", {"action": "abort", "where": {"twin": "nobody"}})
        assert (nobody.status_code, nobody.json()["code"]) == (409, "no_targets")
        unknown = await post(http, "/v1/jobs", {"action": "abort", "executions": ["double-zzz", "no name at all"]})
        assert unknown.status_code == 404
        assert (await get(http, "/v1/jobs"))["items"] == []
        assert (await http.get(f"/v1/jobs/{make_id(1_700_000_000_000, 1, 1)}")).status_code == 404


@pytest.mark.parametrize("verb", ["hold", "release"])
async def test_holding_what_nobody_knows_is_refused(cluster: Cluster, verb: str) -> None:
    async with everything(cluster) as (_, http):
        await submit(http, 1)
        answer = await post(http, f"/v1/executions/{make_id(1_700_000_000_000, 1, 1)}/{verb}")
        assert answer.status_code == 404


async def test_a_business_id_is_unique_among_what_is_live(cluster: Cluster) -> None:
    async with everything(cluster) as (_, http):
        said = {"pipeline": "double", "inputs": {"n": 1}, "business_id": "order-7"}
        first = (await post(http, "/v1/executions", said)).json()
        refused = await post(http, "/v1/executions", said, key="r")
        assert (refused.status_code, refused.json()["code"]) == (409, "business_id_live")
        joined = await post(http, "/v1/executions", {**said, "if_live": "first"}, key="j")
        assert (joined.status_code, joined.json()["id"], joined.json()["name"]) == (200, first["id"], first["name"])
        command = await get(http, f"/v1/commands/{joined.json()['command_id']}")
        assert (command["status"], command["id"]) == ("accepted", first["id"])
        waiting = (await post(http, "/v1/executions", {**said, "if_live": "wait"})).json()
        found = await get(http, "/v1/executions", business_id="order-7")
        assert [(each["id"], each["business_id"]) for each in found["items"]] == [
            (waiting["id"], "order-7"),
            (first["id"], "order-7"),
        ]
        job = await ask(http, action="abort", where={"business_id": "order-7"})
        assert (await ended(http, job["id"]))["done"] == 2
        assert (await post(http, "/v1/executions", said)).status_code == 201
        assert (await post(http, "/v1/executions", {**said, "business_id": ""})).status_code == 422
        assert (await post(http, "/v1/executions", {**said, "if_live": "never"})).status_code == 422
