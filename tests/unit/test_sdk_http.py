"""The connection asks again where that is safe, within bounds, and tells problems as people read them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from execution_ledger.errors import BadRequest, BadSettings, Unavailable
from execution_ledger.running import Running
from execution_ledger.sdk.client.address import Address
from execution_ledger.sdk.client.http import (
    LINE_CHARS_MAX,
    TRIES_KNOWN_MAX,
    TRIES_MAX,
    Connection,
    Refused,
    lines_of,
    open_http,
    pause_s,
    problem_text,
)

ADDRESS = Address("http://ledger", "secret", "/folder/token")
Answer = httpx.Response | httpx.TransportError


class Script:
    """Answers requests one after the other, and remembers them and the pauses between."""

    def __init__(self, *answers: Answer, address: Address = ADDRESS) -> None:
        self._answers: Iterator[Answer] = iter(answers)
        self.requests: list[httpx.Request] = []
        self.pauses: list[float] = []
        http = httpx.Client(base_url=address.url, transport=httpx.MockTransport(self._answer))
        self.connection = Connection(address, http, self.pauses.append)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = next(self._answers)
        if isinstance(answer, httpx.TransportError):
            raise answer
        return answer


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def ok(body: Any = None) -> httpx.Response:
    return httpx.Response(200, json={} if body is None else body)


def busy(status: int = 503, **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"detail": "Too much is waiting"}, headers=headers)


def test_the_token_goes_with_every_request() -> None:
    with open_http(ADDRESS) as http:
        assert http.headers["Authorization"] == "Bearer secret"


def test_who_asks_a_closed_one_is_told() -> None:
    connection = Script(ok()).connection
    connection.close()
    connection.close()
    with pytest.raises(BadRequest, match="This client is closed"):
        connection.get("/v1/executions")


def test_parameters_without_a_value_are_left_out() -> None:
    script = Script(ok())
    script.connection.get("/v1/executions", status=None, limit=5)
    assert str(script.requests[0].url) == "http://ledger/v1/executions?limit=5"


@pytest.mark.parametrize("status", [502, 504])
def test_a_proxy_that_cannot_reach_the_gateway_is_asked_again(status: int) -> None:
    script = Script(httpx.Response(status), ok({"id": "x"}))
    assert script.connection.get("/v1/executions/x") == {"id": "x"}
    assert script.pauses == [pause_s(1)]


def test_every_try_of_a_post_bears_the_same_key() -> None:
    script = Script(httpx.ConnectError("refused"), busy(), httpx.ReadTimeout("no answer"), ok({"id": "x"}))
    assert script.connection.post("/v1/executions", {}, "key-1") == {"id": "x"}
    assert [request.headers["Idempotency-Key"] for request in script.requests] == ["key-1"] * 4


def test_a_busy_ledger_says_how_long_to_wait() -> None:
    script = Script(busy(429, **{"Retry-After": "2"}), ok())
    script.connection.get("/v1/executions")
    assert script.pauses == [2.0]


def test_pauses_grow_and_are_bounded() -> None:
    assert [pause_s(tries) for tries in range(1, 6)] == [0.1, 0.2, 0.4, 0.8, 1.6]
    assert pause_s(1, "3600") == 5.0
    assert pause_s(1, "Wed, 21 Oct 2026 07:28:00 GMT") == 0.1


def test_a_ledger_that_never_answers_is_given_up_with_the_next_step() -> None:
    script = Script(*[httpx.ConnectError("Connection refused")] * TRIES_MAX)
    with pytest.raises(Unavailable, match=r"No ledger answers at http://ledger .*exledger dev"):
        script.connection.get("/v1/executions")
    assert len(script.requests) == TRIES_MAX


def test_a_ledger_that_has_answered_gets_the_time_to_start_again() -> None:
    script = Script(ok(), *[httpx.ConnectError("Connection refused")] * TRIES_KNOWN_MAX)
    script.connection.get("/v1/executions")
    with pytest.raises(Unavailable, match="No ledger answers"):
        script.connection.get("/v1/executions")
    assert 15 < sum(script.pauses) < 20


def test_a_dev_that_holds_its_folder_gets_the_time_to_start_its_gateway_again() -> None:
    dev = replace(ADDRESS, running=Running(1, ADDRESS.url, "2026-11-22T08:00:00Z"))
    script = Script(*[httpx.ConnectError("Connection refused")] * TRIES_MAX, ok({"id": "x"}), address=dev)
    assert script.connection.get("/v1/executions") == {"id": "x"}


def test_a_ledger_that_stays_busy_is_given_up_with_its_reason() -> None:
    script = Script(*[busy()] * TRIES_MAX)
    with pytest.raises(Unavailable, match="cannot answer now: Too much is waiting"):
        script.connection.get("/v1/executions")
    assert len(script.requests) == TRIES_MAX


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422])
def test_a_refusal_is_told_once_and_not_asked_again(status: int) -> None:
    script = Script(httpx.Response(status, json={"title": "Refused", "detail": "It is already completed."}))
    with pytest.raises(BadRequest, match=r"^It is already completed\.$"):
        script.connection.post("/v1/executions/x/abort", {}, "key")
    assert script.pauses == []


def test_without_a_key_each_post_has_one_of_its_own_and_keeps_it() -> None:
    script = Script(busy(), ok(), ok())
    for _ in range(2):
        script.connection.post("/v1/executions", {})
    first, again, other = [request.headers["Idempotency-Key"] for request in script.requests]
    assert first == again != other


def test_a_refusal_carries_its_whole_problem() -> None:
    problem = {"type": "urn:execution-ledger:problem:refused", "detail": "It has ended.", "code": "already_ended"}
    with pytest.raises(Refused) as refused:
        Script(httpx.Response(409, json=problem)).connection.get("/v1/executions/x")
    assert refused.value.problem == problem


def test_an_answer_may_be_held_as_long_as_was_asked_for_and_a_little_longer() -> None:
    script = Script(ok())
    script.connection.get("/v1/executions/x", wait=2.0)
    [request] = script.requests
    assert request.url.params["wait"] == "2.000"
    assert 2.0 < request.extensions["timeout"]["read"] <= 20.0


def test_a_token_that_is_not_accepted_is_named_by_its_place() -> None:
    script = Script(httpx.Response(401, json={"title": "A valid token is needed"}))
    with pytest.raises(BadRequest, match="does not accept the token in /folder/token"):
        script.connection.get("/v1/executions")


def test_a_refused_token_comes_with_where_tokens_come_from() -> None:
    script = Script(httpx.Response(401, json={}), address=Address("http://ledger", "", "EXLEDGER_TOKEN"))
    with pytest.raises(BadRequest, match=r"(?s)a request without a token.*DATA_DIR/token.*TOKEN_SHA256"):
        script.connection.get("/v1/executions")


@pytest.mark.parametrize("token", ["tü", "two\nlines", "\udcff"])
def test_a_token_that_no_header_can_hold_is_a_setting_to_change(token: str) -> None:
    with pytest.raises(BadSettings, match="EXLEDGER_TOKEN holds no token"):
        open_http(Address("http://ledger", token, "EXLEDGER_TOKEN"))


@pytest.mark.parametrize("url", ["ledger:8080", "ftp://ledger", "ledger"])
def test_what_is_no_url_is_a_setting_to_change(url: str) -> None:
    with pytest.raises(BadSettings, match="is no URL of a ledger"):
        open_http(Address(url, "t", "EXLEDGER_TOKEN"))


@pytest.mark.parametrize("key", ["ü", "two\nlines", "\udcff", 7])
def test_a_key_that_no_header_can_hold_is_refused(key: Any) -> None:
    with pytest.raises(BadRequest, match=r"The idempotency key .* cannot be sent"):
        Script().connection.post("/v1/executions", {}, key)


@pytest.mark.parametrize(
    "value",
    [float("inf"), "\udcff", nested(100_000), {1}, b"1"],
    ids=["infinite", "surrogate", "deep", "set", "bytes"],
)
def test_a_body_that_json_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(BadRequest, match="cannot be sent to the ledger"):
        Script().connection.post("/v1/executions", {"inputs": {"n": value}}, "key")


def test_lines_end_with_a_line_feed_and_nothing_else() -> None:
    text = "data: a\u2028b\u2029c\x85d\x0be\r\n\nü\nnot ended"
    whole, raw = ["data: a\u2028b\u2029c\x85d\x0be", "", "ü"], text.encode()
    assert list(lines_of([raw])) == whole
    assert list(lines_of(raw[at : at + 1] for at in range(len(raw)))) == whole


def test_a_line_without_end_is_given_up() -> None:
    with pytest.raises(Unavailable, match="longer than"):
        list(lines_of([b"x" * LINE_CHARS_MAX, b"x"]))


def test_what_answers_without_json_is_no_ledger() -> None:
    script = Script(httpx.Response(200, text="<html>"), httpx.Response(200, json=[]))
    for _ in range(2):
        with pytest.raises(Unavailable, match="is not a ledger"):
            script.connection.get("/v1/executions")


def test_a_problem_with_fields_tells_all_of_them() -> None:
    errors = [{"field": "inputs.n", "detail": "must be a number"}, {"field": "mode", "detail": "is unknown"}]
    response = httpx.Response(422, json={"title": "The request is not valid", "detail": "…", "errors": errors})
    assert problem_text(response) == "The request is not valid:\n  inputs.n: must be a number\n  mode: is unknown"


def test_an_answer_that_is_no_problem_document_is_told_by_its_status() -> None:
    assert problem_text(httpx.Response(502, text="<html>")) == "HTTP 502 Bad Gateway"
