"""Bad requests, each a clear problem that says what to do; after all of them the gateway works as before."""

from __future__ import annotations

import gzip
import json
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from execution_ledger.gateway.app import openapi_document
from execution_ledger.gateway.gateway import Gateway
from execution_ledger.gateway.writes.requests import EXECUTIONS_MAX
from execution_ledger.messages.ids import make_id
from unit.gateway_http_stage import BODY, DEFINITION, SHARDS, check_problem, post, serve

JSON = ("Content-Type", "application/json")
BATCHES = "/v1/batches"
TEXT = json.dumps(BODY)
LISTS = [
    re.sub("{.*?}", "4097", path)
    for path, methods in openapi_document()["paths"].items()
    if any(parameter["name"] == "cursor" for parameter in methods.get("get", {}).get("parameters", ()))
]


@pytest.fixture(scope="module")
async def stage() -> AsyncIterator[tuple[Gateway, httpx.AsyncClient]]:
    async with serve() as served:
        yield served


@pytest.fixture
async def http(stage: tuple[Gateway, httpx.AsyncClient]) -> AsyncIterator[httpx.AsyncClient]:
    """What was sent has left nothing behind, and the next good request is answered."""
    gateway, client = stage
    before = gateway.tail.position
    yield client
    assert gateway.tail.position == before
    assert (await client.post("/v1/executions", json=BODY)).status_code == 201


def with_fields(**fields: Any) -> str:
    return json.dumps({**BODY, **fields})


# --- bodies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "headers", "kind", "said"),
    [
        (TEXT.encode("utf-16"), [JSON], "invalid-json", "utf-8"),
        (b"\xef\xbb\xbf" + TEXT.encode(), [JSON], "invalid-json", "BOM"),
        (TEXT + "x", [JSON], "invalid-json", "Extra data"),
        (TEXT.replace("1", "1e400"), [JSON], "invalid-json", "too large for a number"),
        (TEXT.replace("1", "-Infinity"), [JSON], "invalid-json", "not JSON"),
        (TEXT.replace("1", "9" * 5_000), [JSON], "invalid-json", "5,000 digits"),
        (TEXT.replace("1", '{"a": 1, "a": 2}'), [JSON], "invalid-json", "'a' occurs twice"),
        (TEXT, [("Content-Type", "application/json; charset=latin-1")], "not-json", "UTF-8"),
        (TEXT, [("Content-Type", "text/plain")], "not-json", "application/json"),
        (TEXT, [("Content-Type", "application/x-www-form-urlencoded")], "not-json", "application/json"),
        (gzip.compress(TEXT.encode(), mtime=0), [JSON, ("Content-Encoding", "gzip")], "not-json", "not compressed"),
        ("", [JSON], "invalid-request", "body: "),
        ("null", [JSON], "invalid-request", "body: "),
        ("[]", [JSON], "invalid-request", "body: "),
        ('"text"', [JSON], "invalid-request", "body: "),
    ],
)
async def test_a_body_that_is_no_object_in_plain_json_is_refused(
    http: httpx.AsyncClient, content: str | bytes, headers: list[tuple[str, str]], kind: str, said: str
) -> None:
    response = await http.post("/v1/executions", content=content, headers=headers)
    assert said in check_problem(response, kind)["detail"]


@pytest.mark.parametrize("media_type", ["application/json; charset=UTF-8", 'application/json;charset="utf-8"'])
async def test_utf_8_may_be_named(stage: tuple[Gateway, httpx.AsyncClient], media_type: str) -> None:
    response = await stage[1].post("/v1/executions", content=TEXT, headers=[("Content-Type", media_type)])
    assert response.status_code == 201


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (with_fields(priority="3"), "priority"),
        (with_fields(priority=True), "priority"),
        (with_fields(priority=0.1), "priority"),
        (with_fields(priority=10**30), "priority"),
        (with_fields(priority=None), "priority"),
        (with_fields(options={"write": "yes"}), "options.write"),
        (with_fields(options={"write": 1}), "options.write"),
        (with_fields(options={"losses_max": 1e30}), "options.losses_max"),
        (with_fields(options=[]), "options"),
        (with_fields(twin="a\x00b"), "twin"),
        (with_fields(twin="\ud800"), "twin"),
        (with_fields(twin=3), "twin"),
        (with_fields(twin="x" * 256), "twin"),
        (with_fields(pipeline="double\n"), "pipeline"),
        (with_fields(pipeline="double\x00"), "pipeline"),
        (with_fields(pipeline=["double"]), "pipeline"),
        (with_fields(labels={"a b": "c"}), "labels.a b.[key]"),
        (with_fields(labels={"": "c"}), "labels..[key]"),
        (with_fields(labels={"a": 1}), "labels.a"),
        (with_fields(labels={"a": "\x00"}), "labels.a"),
        (with_fields(labels={f"l{n}": "x" for n in range(33)}), "labels"),
        (with_fields(inputs=[1]), "inputs"),
        (with_fields(properties="text"), "properties"),
    ],
)
async def test_a_field_is_taken_as_it_is_written_or_named(http: httpx.AsyncClient, body: str, field: str) -> None:
    problem = check_problem(await post(http, body), "invalid-request")
    assert [error["field"] for error in problem["errors"]] == [field]
    assert "Correct this and send it again." in problem["detail"]


@pytest.mark.parametrize(
    ("side", "port", "field"),
    [
        ("inputs", {"type": "number", "min": 2, "max": 1}, "inputs.n.max"),
        ("inputs", {"type": "json", "max": 1}, "inputs.n.max"),
        ("inputs", {"type": "number", "required": False, "default": 3, "max": 1}, "inputs.n.default"),
        ("inputs", {"type": "number", "min": "1"}, "inputs.n.min"),
        ("inputs", {"type": "string", "enum": []}, "inputs.n.enum"),
        ("inputs", {"type": "array", "items": "array"}, "inputs.n.items"),
        ("outputs", {"type": "string", "enum": [1]}, "outputs.n.enum"),
        ("outputs", {"type": "json", "items": "number"}, "outputs.n.items"),
    ],
)
async def test_a_port_that_no_value_fits_is_not_registered(
    http: httpx.AsyncClient, side: str, port: dict[str, Any], field: str
) -> None:
    body = {**DEFINITION, "name": "narrow", side: {"n": port}}
    problem = check_problem(await http.put("/v1/pipelines/narrow", json=body), "invalid-request")
    assert [error["field"] for error in problem["errors"]] == [field]
    check_problem(await http.get("/v1/pipelines/narrow"), "unknown-pipeline")


@pytest.mark.parametrize("limit", [0, -1, True, "3", 0.5, 2**31, 10**30])
async def test_a_limit_that_no_version_could_have_is_refused(http: httpx.AsyncClient, limit: object) -> None:
    """One beyond the integers of a version would stop every gateway at the event for ever."""
    response = await http.put("/v1/pipelines/limited", json={**DEFINITION, "name": "limited", "limit": limit})
    assert check_problem(response, "invalid-request")["errors"][0]["field"] == "limit"
    check_problem(await http.get("/v1/pipelines/limited"), "unknown-pipeline")


async def test_the_catalog_does_not_take_what_is_no_definition(http: httpx.AsyncClient) -> None:
    for body in (
        {"name": "x"},
        {"name": "x", "code": "c", "inputs": {"a b": {"type": "json"}}},
        {"name": "x", "code": 1},
    ):
        check_problem(await http.put("/v1/pipelines/x", json=body), "invalid-request")


# --- batches --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "children",
    [
        "",
        ",".join([TEXT] * (EXECUTIONS_MAX + 1)),
        f"{TEXT}," + '{"pipeline": "double", "inputs": {"n": 1}, "priority": 101}',
        f"{TEXT}," + '{"pipeline": "dubble", "inputs": {"n": 1}}',
        f"{TEXT}," + '{"pipeline": "double"}',
        f"{TEXT},null",
    ],
)
async def test_a_batch_with_anything_wrong_makes_nothing(http: httpx.AsyncClient, children: str) -> None:
    problem = check_problem(await post(http, f'{{"executions": [{children}]}}', BATCHES), "invalid-request")
    assert problem["errors"][0]["field"].startswith("executions")
    assert ".. " not in problem["detail"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ('{"executions": [' + ",".join(["1"] * 2_000_000) + "]}", "invalid-request"),
        ('{"executions": [' + ",".join(['{"pipeline":"a"}'] * 500_000) + "]}", "invalid-request"),
        ('{"executions": [{' + ",".join(f'"{n}":1' for n in range(500_000)) + "}]}", "invalid-json"),
    ],
)
async def test_millions_of_errors_are_not_reported_one_by_one(http: httpx.AsyncClient, body: str, kind: str) -> None:
    """Before this was bounded, the first of these held up everybody for 24 seconds."""
    began = time.perf_counter()
    problem = check_problem(await post(http, body, BATCHES), kind)
    assert time.perf_counter() - began < 8
    assert len(problem.get("errors", ())) <= 1


async def test_batches_have_a_limit_in_bytes(http: httpx.AsyncClient) -> None:
    check_problem(await post(http, b" " * 32_000_001, BATCHES), "body-too-large")


# --- headers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "keys",
    [[b""], [b"k" * 256], [b"k" * 1_000_000], [b"\xff\xfe"], [b"a\x00b"], [b"a\x07"], [b"a", b"b"], [b"a", b"a"]],
)
async def test_a_key_that_nobody_could_repeat_is_refused(http: httpx.AsyncClient, keys: list[bytes]) -> None:
    headers = [(b"Content-Type", b"application/json"), *((b"Idempotency-Key", key) for key in keys)]
    problem = check_problem(await http.post("/v1/executions", content=TEXT, headers=headers), "invalid-request")
    assert [error["field"] for error in problem["errors"]] == ["Idempotency-Key"]


async def test_two_trace_contexts_fail_no_request(stage: tuple[Gateway, httpx.AsyncClient]) -> None:
    headers = [JSON, ("traceparent", "nonsense"), ("traceparent", "\x7f" * 300)]
    assert (await stage[1].post("/v1/executions", content=TEXT, headers=headers)).status_code == 201


@pytest.mark.parametrize("announced", ["abc", "-1", "9" * 30])
async def test_a_length_that_cannot_be_is_refused(http: httpx.AsyncClient, announced: str) -> None:
    headers = [JSON, ("Content-Length", announced)]
    check_problem(await http.post("/v1/executions", content=TEXT, headers=headers), "body-too-large")


# --- addresses and parameters ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/executions", "GET, HEAD, POST"),
        ("/v1/executions/1", "GET, HEAD"),
        ("/v1/executions/1/abort", "POST"),
        ("/v1/pipelines/double", "GET, HEAD, PUT"),
        ("/healthz", "GET, HEAD"),
    ],
)
@pytest.mark.parametrize("method", ["OPTIONS", "DELETE", "PATCH", "TRACE", "NONSENSE"])
async def test_other_methods_name_those_that_are_possible(
    http: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    response = await http.request(method, path)
    assert (response.status_code, response.headers["Allow"]) == (405, allowed)
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path", ["/v1/executions/", "/v1//executions", "/V1/executions", "/v1/executions/1/x", "/", "//"]
)
async def test_an_address_that_is_almost_right_is_not_redirected(http: httpx.AsyncClient, path: str) -> None:
    check_problem(await http.get(httpx.URL("http://ledger", raw_path=path.encode())), "not-found")


@pytest.mark.parametrize(
    "reference",
    ["%00", "%ff", "%2e%2e", "-1", "0", "01", "1e3", "%D9%A1", "x" * 5_000, make_id(1, SHARDS, 1), make_id(1, 0, 1)],
)
async def test_a_reference_to_nothing_is_a_404_to_every_call(http: httpx.AsyncClient, reference: str) -> None:
    path = f"/v1/executions/{reference}"
    for response in (
        await http.get(path),
        await http.get(f"{path}/events"),
        await http.get(f"{path}/explain"),
        await http.get(f"{path}/logs"),
        await http.post(f"{path}/abort"),
        await http.get("/v1/events", params=f"execution={reference}"),
    ):
        check_problem(response, "unknown-execution")


async def test_an_abort_of_what_never_was_is_told_by_the_ledger_or_not_at_all(
    stage: tuple[Gateway, httpx.AsyncClient],
) -> None:
    """The ledger forgets what has ended: without the views nobody can say that there never was such an execution."""
    response = await stage[1].post(f"/v1/executions/{make_id(1, 1, 1)}/abort")
    check_problem(response, "views-away")


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("/v1/executions", "pipline=double", "pipline"),
        ("/v1/executions", "limit=1&limit=2", "limit"),
        ("/v1/executions", "limit=-1", "limit"),
        ("/v1/executions", "limit=0", "limit"),
        ("/v1/executions", "limit=1e3", "limit"),
        ("/v1/executions", f"limit={'9' * 30}", "limit"),
        ("/v1/executions", "created_after=5", "created_after"),
        ("/v1/executions", "created_after=2026-11-22", "created_after"),
        ("/v1/executions", "created_after=0001-01-01T00:00:00%2B14:00", "created_after"),
        ("/v1/executions", "created_after=99999-01-01T00:00:00Z", "created_after"),
        ("/v1/executions", "label=%00=1", "label[0]"),
        ("/v1/executions", "label=a=%00", "label[0]"),
        ("/v1/executions", "&".join(f"label=a={n}" for n in range(21)), "label"),
        ("/v1/executions", "&".join("pipeline=a" for _ in range(21)), "pipeline"),
        ("/v1/executions", "twin=%00", "twin"),
        ("/v1/executions", "pipeline=%F0%9F%98%80", "pipeline[0]"),
        ("/v1/executions", "sort=-name", "sort"),
        ("/v1/executions", "sort=created&sort=-created", "sort"),
        ("/v1/executions", "version=0", "version"),
        ("/v1/executions", "attempts_min=0", "attempts_min"),
        ("/v1/executions", "warnings=1", "warnings"),
        ("/v1/executions", "priority=101", "priority"),
        ("/v1/executions", "abort=never", "abort"),
        ("/v1/executions", "ended_before=2026-11-22", "ended_before"),
        ("/v1/executions", "q=", "q"),
        ("/v1/executions", f"q={'x' * 101}", "q"),
        ("/v1/executions", "q=a%0Ab", "q"),
        ("/v1/executions/stats", "by=label", "by"),
        ("/v1/executions/stats", "sort=created", "sort"),
        ("/v1/executions/stats", "warnings=yes", "warnings"),
        ("/v1/executions", "batch=nonsense", "batch"),
        ("/v1/executions", "cursor=LTEuMQ", "cursor"),
        *((listed, "cursor=pump-7", "cursor") for listed in LISTS),
        ("/v1/executions", f"cursor={'x' * 201}", "cursor"),
        ("/v1/executions", "cursor=%00", "cursor"),
        ("/v1/executions/1/events", "cursor=-1", "cursor"),
        ("/v1/executions/1/events", f"cursor={2**63}", "cursor"),
        ("/v1/executions/1/logs", "attempt=0", "attempt"),
        ("/v1/executions/1/logs", "step=a%0Ab", "step"),
        ("/v1/executions/1/logs", "follow=1", "follow"),
        ("/v1/executions/1/logs", "format=xml", "format"),
        ("/v1/executions/1/logs", "after=1", "after"),
        ("/v1/executions/1", "wait=nan", "wait"),
        ("/v1/executions/1", "wait=-1", "wait"),
        ("/v1/executions/1", "wait=inf", "wait"),
        ("/v1/pipelines/double", "version=0", "version"),
        ("/v1/pipelines", "limit=501", "limit"),
        ("/v1/commands/%00", "", "command_id"),
        ("/v1/pipelines/a%00b", "", "name"),
        ("/v1/queue", "pool=x", "pool"),
    ],
)
async def test_a_parameter_that_cannot_be_is_named(http: httpx.AsyncClient, path: str, query: str, field: str) -> None:
    problem = check_problem(await http.get(path, params=query), "invalid-request")
    assert [error["field"] for error in problem["errors"]] == [field]


@pytest.mark.parametrize(
    "position", ["x", "1", "1.", "-1.1", "1.-1", "1.1-1.2", "%D9%A1.1", "1_0.1", "+1.1", "1.1-", "1." + "9" * 19]
)
@pytest.mark.parametrize("path", ["/v1/executions?min_position=", "/v1/events?after="])
async def test_a_position_that_no_answer_gave_is_refused(http: httpx.AsyncClient, path: str, position: str) -> None:
    problem = check_problem(await http.get(path + position), "invalid-request")
    assert "is not a position. Pass one that an answer gave you" in problem["detail"]


@pytest.mark.parametrize("last", ["1.999999", "4095.1", "0.999999999999999999"])
async def test_a_position_of_another_log_is_told_as_one(http: httpx.AsyncClient, last: str) -> None:
    problem = check_problem(await http.get("/v1/events", headers={"Last-Event-ID": last}), "position-ahead")
    assert "leave it out" in problem["detail"]


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer  ", "bearer \xff", "Bearer a-token2", "Bearer " + "x" * 100_000]
)
async def test_without_the_token_nothing_is_read(http: httpx.AsyncClient, authorization: str) -> None:
    headers = [JSON, ("Authorization", authorization.encode("latin-1").decode("latin-1"))]
    response = await http.post(
        "/v1/batches", content=b"{", headers=[(name.encode(), value.encode("latin-1")) for name, value in headers]
    )
    assert "Authorization: Bearer TOKEN" in check_problem(response, "unauthorized")["detail"]
