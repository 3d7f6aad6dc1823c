"""The catalog over HTTP: templates, twins and experiments are registered, read and removed, and bad ones refused."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from execution_ledger.gateway.gateway import Gateway
from unit.gateway_http_stage import TWINS, check_problem, serve

PUMP = {"properties": {"kw": {"type": "number"}, "site": {"type": "string", "required": False, "default": "north"}}}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
async def served() -> AsyncIterator[tuple[Gateway, httpx.AsyncClient]]:
    async with serve() as stage:
        assert (await stage[1].put("/v1/templates/pump", json=PUMP)).status_code == 201
        yield stage


@pytest.fixture
async def refusing(served: tuple[Gateway, httpx.AsyncClient]) -> AsyncIterator[httpx.AsyncClient]:
    """What was sent has left nothing behind."""
    gateway, client = served
    before = gateway.tail.position
    yield client
    assert gateway.tail.position == before


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with serve() as (_, client):
        assert (await client.put("/v1/templates/pump", json=PUMP)).status_code == 201
        yield client


async def test_a_twin_is_registered_read_and_removed(http: httpx.AsyncClient) -> None:
    body = {"name": "Pump 9", "template": "pump", "values": {"kw": 7.5}, "labels": {"line": "2"}}
    registered = await http.put("/v1/twins/pump-9", json=body)
    assert (registered.status_code, registered.headers["Location"]) == (201, "/v1/twins/pump-9")
    assert (registered.json()["key"], registered.json()["version"]) == ("pump-9", 1)
    assert (await http.put("/v1/twins/pump-9", json=body)).status_code == 200
    assert (await http.put("/v1/twins/pump-9", json={**body, "name": "Nine"})).json()["version"] == 2
    read = (await http.get("/v1/twins/pump-9")).json()
    assert read["definition"] == {**body, "name": "Nine", "description": None, "parent": None}
    assert read["properties"] == {"kw": 7.5, "site": "north"}
    assert (read["version"], read["registered_by"]) == (2, "admin")
    removed = await http.delete("/v1/twins/pump-9")
    assert (removed.status_code, removed.json()["version"]) == (200, 3)
    assert "exledger twins add pump-9" in check_problem(await http.get("/v1/twins/pump-9"), "unknown-twin")["detail"]
    check_problem(await http.delete("/v1/twins/pump-9"), "unknown-twin")
    run = await http.post("/v1/executions", json={"pipeline": "double", "inputs": {"n": 1}, "twin": "pump-9"})
    assert check_problem(run, "invalid-request")["errors"][0]["field"] == "twin"


async def test_a_removal_asked_for_again_with_its_key_is_the_first_one(http: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "gone"}
    first = await http.delete("/v1/twins/pump-1", headers=key)
    again = await http.delete("/v1/twins/pump-1", headers=key)
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["version"] == again.json()["version"]


async def test_templates_and_experiments_are_read_back(http: httpx.AsyncClient) -> None:
    assert (await http.put("/v1/experiments/winter", json={"name": "Winter"})).status_code == 201
    experiment = (await http.get("/v1/experiments/winter")).json()
    assert (experiment["key"], experiment["definition"]["name"]) == ("winter", "Winter")
    template = (await http.get("/v1/templates/pump")).json()
    assert template["definition"]["properties"]["kw"]["type"] == "number"
    for noun in ("template", "experiment"):
        check_problem(await http.get(f"/v1/{noun}s/none"), f"unknown-{noun}")
        [item] = (await http.get(f"/v1/{noun}s")).json()["items"]
        assert item["key"] == (await http.get(f"/v1/{noun}s/{item['key']}")).json()["key"]


async def test_a_list_is_read_page_by_page_in_the_order_of_keys(http: httpx.AsyncClient) -> None:
    await http.put("/v1/twins/a", json={"template": "pump", "values": {"kw": 1}})
    keys: list[str] = []
    page: dict[str, Any] = {"next": ""}
    while page["next"] is not None:
        page = (await http.get("/v1/twins", params={"limit": 2, "cursor": page["next"]})).json()
        keys += [item["key"] for item in page["items"]]
        assert len(page["items"]) <= 2
    assert keys == sorted([*TWINS, "a"])
    [only] = (await http.get("/v1/twins", params={"template": "pump"})).json()["items"]
    assert only["key"] == "a"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("twins/x", {"template": "pump"}, "values.kw"),
        ("twins/x", {"template": "pump", "values": {"kw": "1"}}, "values.kw"),
        ("twins/x", {"template": "pump", "values": {"kw": 1, "more": 1}}, "values.more"),
        ("twins/x", {"values": {"kw": 1}}, "values"),
        ("twins/x", {"values": [1]}, "values"),
        ("twins/x", {"template": "none"}, "template"),
        ("twins/x", {"template": "no spaces"}, "template"),
        ("twins/x", {"parent": "none"}, "parent"),
        ("twins/x", {"parent": "x"}, "parent"),
        ("twins/x", {"name": "a\nb"}, "name"),
        ("twins/x", {"name": 3}, "name"),
        ("twins/x", {"name": "x" * 256}, "name"),
        ("twins/x", {"labels": {"a": 1}}, "labels.a"),
        ("twins/x", {"colour": "red"}, "colour"),
        ("twins/x", [], "body"),
        ("twins/x", None, "body"),
        ("twins/" + "x" * 101, {}, "key"),
        ("twins/%00", {}, "key"),
        ("twins/a%20b", {}, "key"),
        ("twins/-x", {}, "key"),
        ("templates/x", {"properties": {"kw": {"type": "nmber"}}}, "properties.kw.type"),
        ("templates/x", {"properties": {"k w": {"type": "number"}}}, "properties.k w.[key]"),
        ("templates/x", {"properties": {"kw": {"type": "number", "min": 2, "max": 1}}}, "properties.kw.max"),
        ("templates/x", {"properties": {"kw": {"type": "string", "enum": [1]}}}, "properties.kw.enum"),
        ("templates/x", {"properties": {"kw": {"type": "json", "default": "\ud800"}}}, "properties.kw.default"),
        ("templates/x", {"properties": {f"p{n}": {"type": "json"} for n in range(201)}}, "properties"),
        (
            "templates/x",
            {"properties": {f"p{n}": {"type": "json", "description": "x" * 2000} for n in range(150)}},
            "body",
        ),
        ("experiments/x", {}, "name"),
        ("experiments/x", {"name": ""}, "name"),
        ("experiments/x", {"name": "\ud800"}, "name"),
    ],
)
async def test_what_cannot_be_registered_says_why_by_field(
    refusing: httpx.AsyncClient, path: str, body: Any, field: str
) -> None:
    content = b"" if body is None else json.dumps(body).encode()
    response = await refusing.put(
        httpx.URL("http://ledger", raw_path=f"/v1/{path}".encode()), content=content, headers=JSON
    )
    problem = check_problem(response, "invalid-request")
    assert [error["field"] for error in problem["errors"]] == [field]
    if field != "key":
        check_problem(await refusing.get(f"/v1/{path}"), f"unknown-{path.split('s/')[0]}")


async def test_values_too_deep_or_too_large_are_refused(http: httpx.AsyncClient) -> None:
    await http.put("/v1/templates/any", json={"properties": {"it": {"type": "json"}}})
    deep: Any = []
    for _ in range(70):
        deep = [deep]
    for value, said in ((deep, "64 levels"), ("x" * 60_000, "60,000"), ("\ud800", "cannot be written")):
        content = json.dumps({"template": "any", "values": {"it": value}})
        problem = check_problem(await http.put("/v1/twins/x", content=content, headers=JSON), "invalid-request")
        assert problem["errors"][0]["field"].startswith("values")
        assert said in problem["errors"][0]["detail"]
    check_problem(await http.get("/v1/twins/x"), "unknown-twin")


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("/v1/twins", "limit=0", "limit"),
        ("/v1/twins", "limit=501", "limit"),
        ("/v1/twins", "template=%00", "template"),
        ("/v1/twins", "tmplate=pump", "tmplate"),
        ("/v1/templates", f"cursor={'x' * 2_001}", "cursor"),
        ("/v1/experiments", "limit=1&limit=2", "limit"),
        ("/v1/twins/pump-1", "version=1", "version"),
    ],
)
async def test_parameters_are_taken_as_they_are_declared(
    refusing: httpx.AsyncClient, path: str, query: str, field: str
) -> None:
    problem = check_problem(await refusing.get(f"{path}?{query}"), "invalid-request")
    assert [error["field"] for error in problem["errors"]] == [field]


async def test_keys_of_another_body_are_refused(http: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "one"}
    assert (await http.put("/v1/twins/x", json={}, headers=key)).status_code == 201
    assert (await http.put("/v1/twins/x", json={}, headers=key)).status_code == 200
    check_problem(await http.put("/v1/twins/x", json={"name": "X"}, headers=key), "key-reused")


async def test_only_twins_can_be_removed(http: httpx.AsyncClient) -> None:
    for path in ("/v1/templates/pump", "/v1/experiments/winter", "/v1/pipelines/double"):
        check_problem(await http.delete(path), "method-not-allowed")
    assert (await http.get("/v1/templates/pump")).status_code == 200
    assert (await http.patch("/v1/twins/pump-1")).headers["Allow"] == "GET, HEAD, PUT, DELETE"
