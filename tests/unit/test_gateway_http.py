"""The HTTP edge: who may call, what is taken in, and how everything that goes wrong is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from execution_ledger.clock import real_world
from execution_ledger.errors import BadSettings
from execution_ledger.gateway.app import create_app, openapi_document
from execution_ledger.gateway.edge import http as edge
from execution_ledger.gateway.gateway import Gateway
from execution_ledger.gateway.writes.requests import BatchRequest
from execution_ledger.log.memory import MemoryLog
from execution_ledger.messages.ids import make_id, number_of
from unit.gateway_http_stage import BODY, DEFINITION, SHARDS, TOKEN, check_problem, post, serve, settings
from unit.metrics_stage import samples

PAST, FUTURE = "2001-01-01T00:00:00Z", "2901-01-01T00:00:00Z"
PROBLEMS = "exledger_gateway_problems_total"


@pytest.fixture(scope="module")
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with serve() as (_, client):
        yield client


async def test_a_submit_is_answered_201_and_its_repeat_200(http: httpx.AsyncClient) -> None:
    body = {"pipeline": "double", "inputs": {"n": 2}, "labels": {"team": "blue"}, "priority": 3}
    first = await http.post("/v1/executions", json=body, headers={"Idempotency-Key": "k"})
    again = await http.post("/v1/executions", json=body, headers={"Idempotency-Key": "k"})
    assert (first.status_code, again.status_code) == (201, 200)
    answer = first.json()
    assert first.headers["Location"] == f"/v1/executions/{answer['id']}"
    assert first.headers["Ledger-Position"] == answer["position"]
    assert answer["name"].startswith("double-")
    assert answer["status"] == "queued"
    assert {name: again.json()[name] for name in ("id", "number", "name")} == {
        name: answer[name] for name in ("id", "number", "name")
    }
    other = await http.post("/v1/executions", json={**body, "priority": 4}, headers={"Idempotency-Key": "k"})
    check_problem(other, "key-reused")


async def test_a_batch_is_answered_with_its_children(http: httpx.AsyncClient) -> None:
    response = await http.post("/v1/batches", json={"executions": [{"pipeline": "double", "inputs": {"n": 1}}] * 3})
    assert response.status_code == 201
    assert [child["status"] for child in response.json()["executions"]] == ["queued"] * 3


async def test_what_became_of_a_command_is_told(http: httpx.AsyncClient) -> None:
    response = await http.get("/v1/commands/nobody")
    check_problem(response, "views-away")  # never a false 404


async def test_an_abort_needs_no_body(http: httpx.AsyncClient) -> None:
    submitted = await http.post("/v1/executions", json={"pipeline": "double", "inputs": {"n": 1}})
    path = f"/v1/executions/{submitted.json()['id']}/abort"
    aborted = await http.post(path)
    assert (aborted.status_code, aborted.json()["status"]) == (200, "aborted")
    problem = check_problem(await http.post(path, json={"reason": "again"}), "refused")
    assert problem["code"] == "already_ended"
    check_problem(await http.post(path, json={"reason": "a\x00b"}), "invalid-request")


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}"])
@pytest.mark.parametrize("path", ["/v1/executions", "/v1/events", "/metrics", "/openapi.json", "/nowhere"])
async def test_everything_but_health_needs_the_token(http: httpx.AsyncClient, path: str, authorization: str) -> None:
    response = await http.get(path, headers={"Authorization": authorization})
    check_problem(response, "unauthorized")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert (await http.get("/healthz", headers={"Authorization": authorization})).json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("expires", "token", "kind"),
    [(PAST, TOKEN, "token-expired"), (PAST, "wrong", "unauthorized"), (FUTURE, TOKEN, "starting")],
)
async def test_a_token_is_good_until_it_expires(expires: str, token: str, kind: str) -> None:
    """Who has another one does not learn which has expired."""
    world = real_world()
    gateway = Gateway(MemoryLog(SHARDS, now_ms=world.clock.now_ms), world, settings(token_expires=expires))
    transport = httpx.ASGITransport(create_app(gateway), raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://ledger", headers=headers) as client:
        problem = check_problem(await client.get("/v1/events"), kind)
    assert ("2001" in problem["detail"]) == (kind == "token-expired")


def test_a_gateway_without_a_token_does_not_start() -> None:
    world = real_world()
    log = MemoryLog(SHARDS, now_ms=world.clock.now_ms)
    with pytest.raises(BadSettings, match="EXLEDGER__GATEWAY__TOKEN_SHA256"):
        Gateway(log, world, settings(token_sha256=""))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ('{"pipeline": "double", "inputs": {"n": NaN}}', "NaN is not JSON"),
        ('{"pipeline": "double", "inputs": {"n": 1e999}}', "1e999 is too large"),
        ('{"pipeline": "double", "pipeline": "other"}', "'pipeline' occurs twice"),
        ("[" * 100_000, "nested too deeply"),
        ('{"pipeline": ', "Expecting value"),
        (b'{"pipeline": "\xff"}', "invalid start byte"),
    ],
)
async def test_what_is_json_only_to_some_is_refused(http: httpx.AsyncClient, raw: str | bytes, said: str) -> None:
    assert said in check_problem(await post(http, raw), "invalid-json")["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"inputs": {}}, "pipeline"),
        ({"pipeline": "no spaces"}, "pipeline"),
        ({"pipeline": "double", "unknown": 1}, "unknown"),
        ({"pipeline": "double", "inputs": {"n": 1}, "twin": "a\nb"}, "twin"),
        ({"pipeline": "double", "inputs": {"n": 1}, "labels": {"a": "\x07"}}, "labels.a"),
        ({"pipeline": "double", "inputs": {"n": 1}, "priority": 101}, "priority"),
        ({"pipeline": "double", "inputs": {"n": 1}, "mode": "test"}, "mode"),
        ({"pipeline": "double", "inputs": {"n": 1}, "options": {"timeout_ms": 5}}, "options.timeout_ms"),
        ({"pipeline": "double", "inputs": {"n": 1}, "policy": {"timeout_ms": 0}}, "policy.timeout_ms"),
        ({"pipeline": "double", "inputs": {"n": 1}, "policy": {"retries": 101}}, "policy.retries"),
        ({"pipeline": "double", "inputs": {"n": 1}, "policy": {"backoff": {"factor": 11}}}, "policy.backoff.factor"),
        ({"pipeline": "double"}, "inputs.n"),
        ({"pipeline": "double", "inputs": {"n": 1, "m": 2}}, "inputs.m"),
        ({"pipeline": "double", "inputs": {"n": "x" * 60_001}}, "inputs"),
        ({"pipeline": "double", "inputs": {"n": 1}, "properties": {"n": "x" * 60_001}}, "properties"),
        ({"pipeline": "double", "inputs": {"n": 1}, "properties": {"n": "\ud800"}}, "properties"),
    ],
)
async def test_what_is_wrong_is_said_by_field(http: httpx.AsyncClient, body: dict[str, Any], field: str) -> None:
    problem = check_problem(await post(http, json.dumps(body)), "invalid-request")
    assert [error["field"] for error in problem["errors"]] == [field]


async def test_inputs_too_large_are_told_their_size_and_what_to_do(http: httpx.AsyncClient) -> None:
    response = await post(http, json.dumps({"pipeline": "double", "inputs": {"n": "x" * 60_000}}))
    detail = check_problem(response, "invalid-request")["detail"]
    assert "60,008 bytes" in detail
    assert "60,000" in detail
    assert "pass what is large as a file" in detail


async def test_properties_too_large_are_told_another_place_for_it(http: httpx.AsyncClient) -> None:
    response = await post(
        http, json.dumps({"pipeline": "double", "inputs": {"n": 1}, "properties": {"p": "x" * 60_000}})
    )
    [error] = check_problem(response, "invalid-request")["errors"]
    assert error == {
        "field": "properties",
        "detail": "60,008 bytes of JSON, at most 60,000 are taken: "
        "keep what is large in the data store, and its path here",
    }


async def test_inputs_that_are_nested_too_deeply_are_refused(http: httpx.AsyncClient) -> None:
    raw = '{"pipeline": "double", "inputs": {"n": ' + "[" * 70 + "]" * 70 + "}}"
    problem = check_problem(await post(http, raw), "invalid-request")
    assert "64 levels" in problem["detail"]


@pytest.mark.parametrize("name", ["\\ud800", "n\\ud800"])
async def test_half_a_surrogate_pair_in_a_name_is_told_not_crashed_on(http: httpx.AsyncClient, name: str) -> None:
    problem = check_problem(
        await post(http, '{"pipeline": "double", "inputs": {"n": 1, "' + name + '": 1}}'), "invalid-request"
    )
    assert "is not an input of this pipeline" in problem["detail"]
    check_problem(await post(http, '{"pipeline": "double", "' + name + '": 1}'), "invalid-request")


@pytest.mark.parametrize(
    ("port_type", "default"),
    [("json", "[" * 300 + "]" * 300), ("json", "[" * 100 + "]" * 100), ("json", '"\\ud800"'), ("number", '"text"')],
)
async def test_a_default_that_no_run_could_take_is_refused(
    http: httpx.AsyncClient, port_type: str, default: str
) -> None:
    port = '{"type": "' + port_type + '", "required": false, "default": ' + default + "}"
    raw = '{"name": "defaults", "code": "c", "inputs": {"a": ' + port + "}}"
    headers = {"Content-Type": "application/json"}
    problem = check_problem(await http.put("/v1/pipelines/defaults", content=raw, headers=headers), "invalid-request")
    assert [error["field"] for error in problem["errors"]] == ["inputs.a.default"]
    check_problem(await http.get("/v1/pipelines/defaults"), "unknown-pipeline")


@pytest.mark.parametrize("traceparent", ["nonsense", "x" * 300])
async def test_a_traceparent_that_is_none_is_ignored(http: httpx.AsyncClient, traceparent: str) -> None:
    response = await http.post("/v1/executions", json=BODY, headers={"traceparent": traceparent})
    assert response.status_code == 201


async def test_large_numbers_arrive_as_they_are(http: httpx.AsyncClient) -> None:
    raw = '{"pipeline": "double", "inputs": {"n": ' + "9" * 400 + "}}"
    assert (await post(http, raw)).status_code == 201


async def test_bodies_have_a_limit_and_a_type(http: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 100_000

    check_problem(await post(http, b" " * 1_000_001), "body-too-large")
    headers = {"Content-Type": "application/json"}
    check_problem(await http.post("/v1/executions", content=endless(), headers=headers), "body-too-large")
    check_problem(await http.post("/v1/executions", content=b"{}"), "not-json")


async def test_a_body_that_does_not_come_is_not_waited_for(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    monkeypatch.setattr(edge, "BODY_S", 0.01)
    headers = {"Content-Type": "application/json"}
    check_problem(await http.post("/v1/batches", content=endless(), headers=headers), "body-too-slow")


async def test_a_batch_names_the_child_that_is_wrong(http: httpx.AsyncClient) -> None:
    good = {"pipeline": "double", "inputs": {"n": 1}}
    response = await http.post("/v1/batches", json={"executions": [good, {"pipeline": "double", "inputs": 3}]})
    problem = check_problem(response, "invalid-request")
    assert problem["errors"][0]["field"] == "executions[1].inputs"
    response = await http.post("/v1/batches", json={"executions": [good, {"pipeline": "dubble"}]})
    problem = check_problem(response, "invalid-request")
    assert problem["errors"][0]["field"] == "executions[1].pipeline"
    assert BatchRequest.model_validate({"executions": [good]})


@pytest.mark.parametrize(
    "reference",
    [
        make_id(1, 0, 1),
        make_id(1, SHARDS, 1),
        str(number_of(5, 0)),
        str(number_of(5, SHARDS)),
        "9" * 19,
        "double",
        "--",
    ],
)
async def test_what_cannot_exist_is_a_404_without_asking_anyone(http: httpx.AsyncClient, reference: str) -> None:
    check_problem(await http.get(f"/v1/executions/{reference}"), "unknown-execution")


@pytest.mark.parametrize("path", ["/v1/executions", f"/v1/executions/{make_id(1, 1, 1)}", "/v1/executions/4097"])
async def test_without_postgres_reads_say_so(http: httpx.AsyncClient, path: str) -> None:
    response = await http.get(path)
    check_problem(response, "views-away")
    assert response.headers["Retry-After"] == "1"


async def test_the_catalog_is_read_without_postgres(http: httpx.AsyncClient) -> None:
    path = "/v1/pipelines/halve"
    one = {**DEFINITION, "name": "halve"}
    answers = [await http.put(path, json={**one, "code": code}) for code in ("c1", "c2", "c2")]
    assert [(answer.status_code, answer.json()["version"]) for answer in answers] == [(201, 1), (201, 2), (200, 2)]
    newest = (await http.get(path)).json()
    assert (newest["version"], newest["digest"]) == (2, answers[1].json()["digest"])
    first = (await http.get(path, params={"version": 1})).json()
    assert first["definition"]["code"] == "c1"
    page = (await http.get("/v1/pipelines", params={"limit": 1})).json()
    assert [item["name"] for item in page["items"]] == ["double"]
    page = (await http.get("/v1/pipelines", params={"cursor": page["next"]})).json()
    assert ([(item["name"], item["version"]) for item in page["items"]], page["next"]) == ([("halve", 2)], None)
    check_problem(await http.get(path, params={"version": 3}), "unknown-pipeline")
    check_problem(await http.get("/v1/pipelines/halfe"), "unknown-pipeline")
    check_problem(await http.put("/v1/pipelines/other", json=DEFINITION), "invalid-request")


async def test_paths_and_methods_that_are_not_there_are_problems_too(http: httpx.AsyncClient) -> None:
    check_problem(await http.get("/v2"), "not-found")
    response = await http.delete("/v1/executions")
    check_problem(response, "method-not-allowed")
    assert response.headers["Allow"]


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/v1/executions", {"limit": 501}),
        ("/v1/executions", {"cursor": "nonsense"}),
        ("/v1/executions", {"status": "gone"}),
        ("/v1/executions", {"label": "no-equals-sign"}),
        ("/v1/executions", {"created_after": "2026-11-22T00:00:00"}),
        ("/v1/executions", {"min_position": "nonsense"}),
        ("/v1/executions/4097", {"wait": 61}),
        ("/v1/events", {"after": "nonsense"}),
    ],
)
async def test_parameters_are_checked(http: httpx.AsyncClient, path: str, params: dict[str, Any]) -> None:
    check_problem(await http.get(path, params=params), "invalid-request")


async def test_a_stream_cannot_resume_from_another_logs_position(http: httpx.AsyncClient) -> None:
    check_problem(await http.get("/v1/events", headers={"Last-Event-ID": "1.999"}), "position-ahead")


async def test_a_stream_that_is_asked_for_its_headers_alone_is_not_kept_open() -> None:
    async with serve() as (gateway, http):
        response = await http.head("/v1/events")
        assert (response.status_code, response.content, gateway.following) == (200, b"", 0)


async def test_readiness_names_what_does_not_work(http: httpx.AsyncClient) -> None:
    problem = check_problem(await http.get("/readyz"), "not-ready")
    assert len(problem["reasons"]) == 1
    assert "Postgres" in problem["reasons"][0]


async def test_metrics_count_by_route(http: httpx.AsyncClient) -> None:
    await http.get("/v1/executions/4097")
    page = (await http.get("/metrics")).text
    wanted = '{method="GET",route="/v1/executions/{reference}",status="503"}'
    assert f"exledger_gateway_requests_total{wanted}" in page
    assert "exledger_gateway_decide_seconds_count" in page


async def test_problems_are_counted_by_kind_and_by_the_code_of_the_ledger() -> None:
    async with serve() as (_, client):
        submitted = await client.post("/v1/executions", json={"pipeline": "double", "inputs": {"n": 1}})
        for _ in range(3):
            await client.post(f"/v1/executions/{submitted.json()['id']}/abort")
        await client.get("/v1/executions", headers={"Authorization": "Bearer wrong"})
        await client.get("/nowhere")
        found = samples((await client.get("/metrics")).text)
    counts = {tuple(sorted(dict(labels).values())): n for (name, labels), n in found.items() if name == PROBLEMS}
    assert counts == {("already_ended", "refused"): 2, ("", "unauthorized"): 1, ("", "not-found"): 1}


async def test_the_lag_of_the_views_is_shown_in_events_and_seconds() -> None:
    async with serve() as (gateway, client):
        await client.post("/v1/executions", json={"pipeline": "double", "inputs": {"n": 1}})
        await client.get("/metrics")
        found = samples((await client.get("/metrics")).text)
        behind = [value for (name, _), value in found.items() if name == "exledger_gateway_views_lag_events"]
        assert sum(behind) == sum(gateway.tail.position.values()) > 0
        assert found["exledger_gateway_views_behind_seconds", frozenset()] > 0


async def test_the_api_describes_itself(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    assert document == openapi_document()
    assert document["openapi"].startswith("3.1")
    assert document["paths"]["/healthz"]["get"]["security"] == []
    for operations in document["paths"].values():
        for operation in operations.values():
            assert "422" not in operation["responses"]
