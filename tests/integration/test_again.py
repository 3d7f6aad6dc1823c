"""Retry and rerun over real HTTP, a real Kafka and a real Postgres."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from execution_ledger.log.protocol import Lane, Outgoing, Topic
from execution_ledger.messages.commands import OpenBatch
from execution_ledger.messages.ids import make_id, shard_of
from integration.test_gateway import DEFINITION, SHARDS, Cluster, cluster, everything, get, ready, submit

__all__ = ["cluster"]  # the fixture

POLICY = {"retries": 2, "timeout_ms": 60_000}
ASKED = {"twin": "pump-7", "mode": "experiment", "options": {"plot": False}, "policy": POLICY, "priority": 3}
MORE = {"labels": {"team": "blue"}, "properties": {"q": "\x00ü"}}
SHARED = (
    "pipeline",
    "pipeline_version",
    "pipeline_digest",
    "inputs",
    "twin",
    "mode",
    "options",
    "policy",
    "properties",
)


async def post(http: httpx.AsyncClient, path: str, body: dict[str, Any] | None = None, key: str = "") -> httpx.Response:
    return await http.post(path, json=body, headers={"Idempotency-Key": key} if key else {})


async def aborted(http: httpx.AsyncClient, n: Any = 1, **more: Any) -> dict[str, Any]:
    """One that has ended, without a runner."""
    answer = await submit(http, n, **more)
    assert (await post(http, f"/v1/executions/{answer['id']}/abort")).json()["status"] == "aborted"
    return answer


async def test_a_retry_is_the_same_again_and_each_shows_the_other(cluster: Cluster) -> None:
    async with everything(cluster) as (_, http):
        first = await aborted(http, [1.5, "ü"], **ASKED, **MORE)
        await http.put("/v1/pipelines/double", json=DEFINITION | {"code": "c2"})
        answer = await post(http, f"/v1/executions/{first['name']}/retry", key="k")
        assert answer.status_code == 201, answer.text
        again = await post(http, f"/v1/executions/{first['id']}/retry", key="k")
        assert (again.status_code, again.json()["id"]) == (200, answer.json()["id"])
        retried = await get(http, f"/v1/executions/{answer.json()['id']}")
        origin = await get(http, f"/v1/executions/{first['id']}")
        assert {name: retried[name] for name in SHARED} == {name: origin[name] for name in SHARED}
        assert (retried["labels"], retried["priority"], retried["status"]) == ({"team": "blue"}, 3, "queued")
        assert (retried["link"], retried["linked_to"]) == ("retry", first["id"])
        assert (origin["link"], origin["linked_to"]) == (None, None)
        assert [(each["id"], each["link"], each["status"]) for each in origin["linked"]] == [
            (retried["id"], "retry", "queued")
        ]
        assert shard_of(retried["id"]) == shard_of(first["id"])
        page = await get(http, "/v1/executions", linked_to=first["id"])
        assert [(each["id"], each["linked_to"]) for each in page["items"]] == [(retried["id"], first["id"])]


async def test_a_rerun_changes_what_it_says_and_keeps_the_rest(cluster: Cluster) -> None:
    async with everything(cluster) as (_, http):
        await http.put("/v1/pipelines/double", json=DEFINITION | {"inputs": {"n": {"type": "json"}, "m": _OPTIONAL}})
        first = await aborted(http, 1, **ASKED, **MORE)
        newest = await http.put("/v1/pipelines/double", json=DEFINITION | {"code": "c2"})
        path = f"/v1/executions/{first['id']}/rerun"
        changes = {"inputs": {"m": 2}, "labels": {"why": "again"}, "policy": {"retries": 0}, "options": {"write": True}}
        rerun = await get(http, f"/v1/executions/{(await post(http, path, changes)).json()['id']}")
        assert (rerun["inputs"], rerun["labels"]) == ({"n": 1, "m": 2}, {"team": "blue", "why": "again"})
        assert (rerun["policy"]["retries"], rerun["policy"]["timeout_ms"]) == (0, 60_000)
        assert rerun["options"] == {"train": True, "plot": False, "write": True}
        assert (rerun["twin"], rerun["mode"], rerun["priority"]) == ("pump-7", "experiment", 3)
        assert (rerun["link"], rerun["linked_to"]) == ("rerun", first["id"])
        assert rerun["pipeline_version"] < newest.json()["version"]
        refused = await post(http, path, {"newest": True})
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "inputs.m")
        fitting = await aborted(http, 1)
        again = await post(http, f"/v1/executions/{fitting['id']}/rerun", {"newest": True, "inputs": {"n": 5}})
        record = await get(http, f"/v1/executions/{again.json()['id']}")
        assert (record["inputs"], record["pipeline_version"]) == ({"n": 5}, newest.json()["version"])


_OPTIONAL = {"type": "json", "required": False, "default": 0}


async def test_what_lives_or_is_unknown_is_refused_in_words(cluster: Cluster) -> None:
    async with everything(cluster) as (_, http):
        live = await submit(http)
        for verb in ("retry", "rerun"):
            answer = await post(http, f"/v1/executions/{live['name']}/{verb}")
            assert (answer.status_code, answer.json()["code"]) == (409, "not_ended")
            assert "has not ended: it is queued" in answer.json()["detail"]
            assert (await post(http, f"/v1/executions/{make_id(1, 1, 1)}/{verb}")).status_code == 404
        assert (await post(http, f"/v1/executions/{live['id']}/retry", {"inputs": {"n": 2}})).status_code == 422
        assert (await post(http, f"/v1/batches/{make_id(1, 1, 1)}/retry")).status_code == 404
        assert (await post(http, "/v1/batches/x/retry")).status_code == 422


async def test_an_end_that_was_read_a_moment_ago_through_another_gateway_is_known(cluster: Cluster) -> None:
    async with everything(cluster) as (_, http), cluster.gateway() as (other, elsewhere):
        await ready(other, elsewhere)
        for n in range(10):
            first = await aborted(http, n)
            assert (await post(elsewhere, f"/v1/executions/{first['id']}/retry")).status_code == 201


async def test_without_views_nothing_is_done_and_a_caller_may_ask_again(cluster: Cluster) -> None:
    async with everything(cluster) as (service, http):
        first = await aborted(http)
        position = service.gateway.tail.position
        pool = service.gateway.views._pool
        service.gateway.views._pool = None
        answer = await post(http, f"/v1/executions/{first['id']}/retry", key="k")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert service.gateway.tail.position == position
        service.gateway.views._pool = pool
        assert (await post(http, f"/v1/executions/{first['id']}/retry", key="k")).status_code == 201


async def test_a_batch_that_is_not_whole_yet_is_not_retried(cluster: Cluster) -> None:
    """Opened by a gateway that fell over before it had asked for its executions: they may come with its key."""
    async with everything(cluster) as (service, http):
        now_ms = service.gateway.world.clock.now_ms()
        batch_id = make_id(now_ms, 1, 1)
        opening = OpenBatch(
            command_id="by-hand", actor="ada", batch_id=batch_id, count=3, opened=now_ms, versions={}, keyed=True
        )
        await cluster.log.send(Lane(Topic.COMMANDS, 1), [Outgoing(b"", opening.model_dump_json().encode())])
        while shard_of((await submit(http))["id"]) != 1:  # what comes after it on its shard is decided after it
            pass
        answer = await post(http, f"/v1/batches/{batch_id}/retry", key="k")
        assert (answer.status_code, answer.json()["code"]) == (409, "not_complete")
        assert "3 of 3 executions" in answer.json()["detail"]


async def test_a_batch_of_which_some_were_refused_for_good_is_whole(cluster: Cluster) -> None:
    async with everything(cluster) as (_, http):
        one = {"pipeline": "double", "inputs": {"n": 1}, "business_id": "order-7"}
        batch = (await post(http, "/v1/batches", {"executions": [one, one]})).json()
        first, second = batch["executions"]
        assert second["refusal"]["code"] == "business_id_live"
        await post(http, f"/v1/executions/{first['id']}/abort")
        answer = await post(http, f"/v1/batches/{batch['id']}/retry", {"statuses": ["aborted"]})
        assert answer.status_code == 201, answer.text
        [retried] = answer.json()["executions"]
        assert (await get(http, f"/v1/executions/{retried['id']}"))["linked_to"] == first["id"]


@pytest.mark.parametrize("count", [7])
async def test_a_batch_is_retried_child_by_child_once_all_have_ended(cluster: Cluster, count: int) -> None:
    async with everything(cluster) as (_, http):
        asked = [{"pipeline": "double", "inputs": {"n": n}} for n in range(count)]
        first = (await post(http, "/v1/batches", {"executions": asked})).json()
        path = f"/v1/batches/{first['id']}/retry"
        assert "have not ended" in (await post(http, path, {"statuses": ["aborted"]})).json()["detail"]
        for child in first["executions"]:
            await post(http, f"/v1/executions/{child['id']}/abort")
        nothing = await post(http, path)
        assert (nothing.status_code, nothing.json()["code"]) == (409, "none_to_retry")
        answer = await post(http, path, {"statuses": ["aborted"]}, key="k")
        assert answer.status_code == 201, answer.text
        again = await post(http, path, {"statuses": ["aborted"]}, key="k")
        assert (again.status_code, again.json()["executions"]) == (200, answer.json()["executions"])
        other = await post(http, path, {"statuses": ["aborted", "failed"]}, key="k")
        assert other.json()["type"].endswith("key-reused")
        retried = [await get(http, f"/v1/executions/{child['id']}") for child in answer.json()["executions"]]
        assert [each["linked_to"] for each in retried] == [child["id"] for child in first["executions"]]
        assert [each["inputs"] for each in retried] == [{"n": n} for n in range(count)]
        assert {each["batch_id"] for each in retried} == {answer.json()["id"]}
        assert {shard_of(each["id"]) for each in retried} == set(range(1, SHARDS))
        for child in answer.json()["executions"]:
            await post(http, f"/v1/executions/{child['id']}/abort")
        third = (await post(http, f"/v1/batches/{answer.json()['id']}/retry", {"statuses": ["aborted"]})).json()
        last = await get(http, f"/v1/executions/{third['executions'][-1]['id']}")
        assert (last["inputs"], last["linked_to"]) == ({"n": count - 1}, retried[-1]["id"])
