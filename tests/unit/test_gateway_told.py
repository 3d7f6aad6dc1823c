"""What callers are told: from what the gateway remembers, the ledger decides and the views hold."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import httpx
import pytest

from execution_ledger.gateway.edge.problems import Away, away
from execution_ledger.gateway.gateway import Gateway
from execution_ledger.gateway.reads.references import execution_id, shard_of_reference
from execution_ledger.gateway.routes.batches import with_names
from execution_ledger.gateway.writes.batches import BatchAnswer, Child
from execution_ledger.gateway.writes.commands import SUBMIT_ROUTE
from execution_ledger.gateway.writes.sending import Answer
from execution_ledger.messages.commands import RequestAbort
from execution_ledger.messages.ids import command_id_of_key, make_id
from execution_ledger.messages.parts import Refusal, Status
from execution_ledger.messages.position import Position, covers, parse_position
from unit.gateway_http_stage import BODY, SHARDS, TOKEN, check_problem, serve


@pytest.fixture(scope="module")
async def served() -> AsyncIterator[tuple[Gateway, httpx.AsyncClient]]:
    async with serve() as both:
        yield both


@pytest.fixture(scope="module")
def gateway(served: tuple[Gateway, httpx.AsyncClient]) -> Gateway:
    return served[0]


@pytest.fixture(scope="module")
def http(served: tuple[Gateway, httpx.AsyncClient]) -> httpx.AsyncClient:
    return served[1]


@pytest.fixture
def views(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Views that are up to date: what they answer, by the name of the question."""
    answers: dict[str, Any] = {"execution": None, "command_event": None, "of_batch": []}

    async def reach(wanted: Position, wait_s: float) -> None:
        """They are there already."""

    def answering(name: str) -> Callable[[str], Coroutine[Any, Any, Any]]:
        async def answer(asked: str) -> Any:
            return answers[name]

        return answer

    monkeypatch.setattr(gateway.views.positions, "reach", reach)
    for name in answers:
        monkeypatch.setattr(gateway.views, name, answering(name))
    return answers


async def test_a_command_that_is_told_is_remembered_for_the_next_read(
    http: httpx.AsyncClient, gateway: Gateway
) -> None:
    await http.post("/v1/executions", json=BODY, headers={"Idempotency-Key": "remembered"})
    command_id = command_id_of_key("admin", SUBMIT_ROUTE, "remembered")
    token = hashlib.sha256(TOKEN.encode()).hexdigest()
    gateway.reading._answered.clear()
    answer = await http.get(f"/v1/commands/{command_id}")
    assert answer.json()["status"] == "accepted"
    assert covers(gateway.reading._answered[token], parse_position(answer.json()["position"]))


async def test_a_command_without_an_acknowledgement_is_received_until_something_else_is_known(
    http: httpx.AsyncClient, gateway: Gateway, views: dict[str, Any]
) -> None:
    traces = gateway.tail.traces
    command = RequestAbort(command_id="lost", actor="ada", execution_id=make_id(1, 1, 1))
    traces.forget(traces.expect(1, command))
    record = (await http.get("/v1/commands/lost")).json()
    assert (record["status"], record["subject"]) == ("received", command.subject)
    assert "did not confirm it" in record["error"]
    problem = check_problem(await http.get("/v1/commands/nobody"), "unknown-command")
    assert "may still be undecided" in problem["detail"]


async def test_what_the_ledger_has_forgotten_and_the_views_know_has_ended(
    http: httpx.AsyncClient, views: dict[str, Any]
) -> None:
    path = f"/v1/executions/{make_id(1, 1, 1)}/abort"
    check_problem(await http.post(path), "unknown-execution")
    views["execution"] = {"name": "double-1", "status": "completed"}
    for headers in ({}, {"Idempotency-Key": "abort"}, {"Idempotency-Key": "abort"}):
        problem = check_problem(await http.post(path, headers=headers), "refused")
        assert (problem["status"], problem["code"]) == (409, "already_ended")
        assert "double-1 has already ended: it is completed" in problem["detail"]


async def test_children_with_ids_too_old_are_told_by_the_views_and_rejected_only_where_there_is_no_row(
    gateway: Gateway, views: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    children = [
        Child(make_id(1, shard, 1), Status.QUEUED, refusal=Refusal(code="id_too_old", detail="no")) for shard in (1, 2)
    ]
    answer = BatchAnswer(Answer("c", f"batch/{make_id(1, 1, 1)}", None), children, {})
    ran = children[0].execution_id
    views["of_batch"] = [{"id": ran, "number": 7, "name": "double-7", "status": "completed"}]
    told = await with_names(gateway, answer)
    assert [(child.status, child.number) for child in told] == [("completed", 7), ("rejected", None)]

    async def away_now(batch_id: str) -> None:
        raise away("views-away", "Postgres does not answer.")

    monkeypatch.setattr(gateway.views, "of_batch", away_now)
    with pytest.raises(Away):
        await with_names(gateway, answer)


async def test_a_batch_takes_its_turn_before_its_body_is_read(http: httpx.AsyncClient, gateway: Gateway) -> None:
    pieces: list[bytes] = []

    async def body() -> AsyncIterator[bytes]:
        pieces.append(b"{}")
        yield b"{}"

    headers = {"Content-Type": "application/json"}
    async with gateway.batches, gateway.batches:
        check_problem(await http.post("/v1/batches", content=body(), headers=headers), "too-busy")
        assert not pieces
    check_problem(await http.post("/v1/batches", content=body(), headers=headers), "invalid-request")


@pytest.mark.parametrize("key", [{}, {"Idempotency-Key": "deep"}])
@pytest.mark.parametrize("value", ["[" * 300 + "]" * 300, '"\\ud800"'])
async def test_what_cannot_be_written_is_refused_in_a_batch_too(
    http: httpx.AsyncClient, views: dict[str, Any], value: str, key: dict[str, str]
) -> None:
    raw = '{"executions": [{"pipeline": "double", "inputs": {"n": ' + value + "}}]}"
    response = await http.post("/v1/batches", content=raw, headers={"Content-Type": "application/json", **key})
    problem = check_problem(response, "invalid-request")
    assert [error["field"] for error in problem["errors"]] == ["executions[0].inputs"]


async def test_an_id_is_found_in_upper_case(gateway: Gateway) -> None:
    known = make_id(0xABCDEF, 1, 0xABCDEF)
    assert shard_of_reference(known.upper(), SHARDS) == 1
    assert await execution_id(gateway, "", known.upper(), None) == known
