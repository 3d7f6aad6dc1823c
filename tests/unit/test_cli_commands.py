"""Commands as people and scripts use them: what is sent, what is printed, and which exit code comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from execution_ledger.cli import app
from execution_ledger.sdk.client import http, waiting
from execution_ledger.sdk.client.address import Address

ID = "0199aaaa-bbbb-7001-8000-000000000000"
NAME = "double-401"
Handler = Callable[[httpx.Request], httpx.Response]


def execution(status: str, **fields: Any) -> dict[str, Any]:
    base = {"id": ID, "number": 4097, "name": NAME, "status": status, "mode": "production", "twin": None}
    times = {"created_at": "2026-01-02T03:04:05.000Z", "execution_ms": None}
    return (
        base
        | times
        | {"outputs": None, "failure": None, "warnings": [], "attempts": [], "policy": {}, "not_before": None}
        | fields
    )


COMPLETED = execution("completed", outputs={"n": 42})
QUEUED = execution("queued")
RECEIVED = {"id": None, "status": "received", "command_id": "c"}


class FakeLedger:
    """Answers each route with its handler, or with its answers one after the other; remembers what was asked."""

    def __init__(self) -> None:
        definition = {"inputs": {"n": {"type": "number"}, "code": {"type": "string"}}}
        self.requests: list[httpx.Request] = []
        self._routes: dict[tuple[str, str], Handler] = {}
        self.on("GET", "/v1/pipelines/double", {"definition": definition})

    def on(self, method: str, path: str, *answers: dict[str, Any], status: int = 200) -> None:
        """The last answer is repeated."""
        left = list(answers)

        def answer(request: httpx.Request) -> httpx.Response:
            return httpx.Response(status, json=left.pop(0) if len(left) > 1 else left[0])

        self._routes[method, path] = answer

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self._routes[request.method, request.url.path](request)

    def posted(self) -> list[dict[str, Any]]:
        return [json.loads(request.content) for request in self.requests if request.method == "POST"]


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> FakeLedger:
    fake = FakeLedger()

    def open_http(address: Address) -> httpx.Client:
        return httpx.Client(base_url=address.url, transport=httpx.MockTransport(fake.handle))

    monkeypatch.setattr(http, "open_http", open_http)
    monkeypatch.setenv("EXLEDGER_URL", "http://ledger")
    return fake


def exledger(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_run_says_its_policy_in_the_words_of_people(ledger: FakeLedger) -> None:
    ledger.on("POST", "/v1/executions", QUEUED, status=201)
    result = exledger(
        *("run", "double", "-i", "n=21", "--timeout", "10m", "--retries", "2"),
        *("--backoff", "1.5", "--queue-ttl", "2h", "--at-most-once"),
    )
    assert result.exit_code == 0
    assert ledger.posted()[0]["policy"] == {
        "timeout_ms": 600_000,
        "retries": 2,
        "backoff": {"first_ms": 1_500},
        "queue_ttl_ms": 7_200_000,
        "delivery": "at_most_once",
    }


def test_a_duration_that_is_none_is_refused_in_words(ledger: FakeLedger) -> None:
    result = exledger("run", "double", "-i", "n=21", "--timeout", "soon")
    assert result.exit_code == 2
    assert "'soon' is no duration. Write seconds" in result.stderr
    assert not ledger.posted()


def test_run_sends_inputs_by_their_declared_types(ledger: FakeLedger) -> None:
    ledger.on("POST", "/v1/executions", QUEUED, status=201)
    result = exledger("run", "double", "-i", "n=21", "-i", "code=7", "--twin", "pump-1", "--label", "team=a")
    assert result.exit_code == 0
    assert ledger.posted() == [
        {"pipeline": "double", "inputs": {"n": 21, "code": "7"}, "labels": {"team": "a"}, "twin": "pump-1"}
    ]
    assert NAME in result.stdout
    assert f"exledger get {NAME}" in result.stderr


def test_every_run_has_a_key_of_its_own_unless_one_is_given(ledger: FakeLedger) -> None:
    ledger.on("POST", "/v1/executions", QUEUED)
    for options in ([], [], ["--key", "mine"]):
        assert exledger("run", "double", "-i", "n=1", *options).exit_code == 0
    keys = [request.headers["Idempotency-Key"] for request in ledger.requests if request.method == "POST"]
    assert len(set(keys)) == 3
    assert keys[2] == "mine"


@pytest.mark.parametrize("arguments", [["double", "-i", "n=\udcff"], ["d\udcff"], ["double", "--twin", "\udcff"]])
@pytest.mark.usefixtures("ledger")
def test_an_argument_that_is_not_utf_8_is_refused(arguments: list[str]) -> None:
    result = exledger("run", *arguments)
    assert result.exit_code == 2
    assert "is not UTF-8 text" in result.stderr


@pytest.mark.usefixtures("ledger")
def test_a_key_that_cannot_be_sent_is_refused_in_words() -> None:
    result = exledger("run", "double", "-i", "n=1", "--key", "ü")
    assert result.exit_code == 2
    assert "Use plain ASCII text" in result.stderr


def test_run_and_wait_prints_the_outputs(ledger: FakeLedger) -> None:
    ledger.on("POST", "/v1/executions", QUEUED)
    ended = execution("completed", outputs={"n": 42, "none": None, "no": []})
    ledger.on("GET", f"/v1/executions/{ID}", QUEUED, execution("started"), ended)
    result = exledger("run", "double", "-i", "n=21", "--wait")
    assert result.exit_code == 0
    assert result.stdout == "n     42\nnone  null\nno    []\n"
    assert f"{NAME} has completed" in result.stderr
    assert float(ledger.requests[-1].url.params["wait"]) == 30.0


def test_run_and_wait_as_json_prints_the_record_only(ledger: FakeLedger) -> None:
    ledger.on("POST", "/v1/executions", QUEUED)
    ledger.on("GET", f"/v1/executions/{ID}", COMPLETED)
    result = exledger("run", "double", "-i", "n=21", "--wait", "--json")
    assert json.loads(result.stdout) == COMPLETED
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (execution("failed", failure={"kind": "user", "message": "no such pump"}), "has failed: no such pump"),
        (execution("aborted"), "has been aborted"),
    ],
)
def test_a_bad_end_is_exit_code_1(ledger: FakeLedger, end: dict[str, Any], told: str) -> None:
    ledger.on("POST", "/v1/executions", QUEUED)
    ledger.on("GET", f"/v1/executions/{ID}", end)
    result = exledger("run", "double", "-i", "n=21", "--wait")
    assert result.exit_code == 1
    assert told in result.stderr
    assert f"exledger events {NAME}" in result.stderr


def test_the_end_of_the_timeout_is_exit_code_4_and_no_failure(ledger: FakeLedger) -> None:
    ledger.on("POST", "/v1/executions", QUEUED)
    ledger.on("GET", f"/v1/executions/{ID}", execution("started"))
    result = exledger("run", "double", "-i", "n=21", "--wait", "--wait-for", "0")
    assert result.exit_code == 4
    assert "started" in result.stdout


def test_a_run_that_is_only_received_is_told_as_such(ledger: FakeLedger) -> None:
    ledger.on("POST", "/v1/executions", RECEIVED, status=202)
    result = exledger("run", "double", "-i", "n=21", "--key", "mine")
    assert result.exit_code == 0
    assert "received" in result.stdout
    assert "--key mine" in result.stderr
    assert len(ledger.posted()) == 1


def test_a_run_that_is_not_decided_is_asked_for_again_with_its_key(
    ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "ASK_AGAIN_S", 0.0)
    ledger.on("POST", "/v1/executions", RECEIVED, RECEIVED, QUEUED)
    ledger.on("GET", f"/v1/executions/{ID}", COMPLETED)
    assert exledger("run", "double", "-i", "n=21", "--wait").exit_code == 0
    assert len({request.headers["Idempotency-Key"] for request in ledger.requests if request.method == "POST"}) == 1
    assert len(ledger.posted()) == 3


def test_a_run_that_is_never_decided_is_exit_code_4(ledger: FakeLedger) -> None:
    ledger.on("POST", "/v1/executions", RECEIVED)
    assert exledger("run", "double", "-i", "n=21", "--wait", "--wait-for", "0").exit_code == 4


def test_an_unknown_pipeline_is_exit_code_2_and_tells_what_the_ledger_says(ledger: FakeLedger) -> None:
    ledger.on("GET", "/v1/pipelines/dubble", {"detail": "No pipeline 'dubble'. Did you mean double?"}, status=404)
    result = exledger("run", "dubble")
    assert (result.exit_code, result.stderr) == (2, "Error: No pipeline 'dubble'. Did you mean double?\n")


def test_no_ledger_is_exit_code_3(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.delenv("EXLEDGER_URL", raising=False)
    result = exledger("list", "--data-dir", str(tmp_path))
    assert result.exit_code == 3
    assert "exledger dev" in result.stderr
    assert result.stdout == ""


def test_a_bad_option_is_exit_code_2() -> None:
    assert exledger("run", "double", "--mode", "dry").exit_code == 2


def test_get_shows_every_field_that_has_a_value(ledger: FakeLedger) -> None:
    ledger.on("GET", f"/v1/executions/{NAME}", COMPLETED)
    result = exledger("get", NAME)
    assert 'outputs     {"n": 42}' in result.stdout
    assert "twin" not in result.stdout


def test_get_shows_each_attempt_in_a_line(ledger: FakeLedger) -> None:
    lost = {"attempt": 1, "status": "requeued", "runner": "runner-a", "cause": "lost", "message": None}
    done = {"attempt": 2, "status": "completed", "runner": "runner-b", "cause": None, "message": None}
    ledger.on("GET", f"/v1/executions/{NAME}", execution("completed", attempts=[lost, done]))
    lines = exledger("get", NAME).stdout.splitlines()
    assert lines[-3:] == ["attempts", "1  requeued  runner-a  lost", "2  completed  runner-b"]


def test_get_shows_how_long_each_attempt_waited_and_ran(ledger: FakeLedger) -> None:
    over = {"attempt": 1, "status": "requeued", "runner": "runner-a", "cause": "lost", "message": None}
    times = {"waiting_ms": 0, "execution_ms": 2_500, "total_ms": 2_500}
    waiting = over | {"attempt": 2, "status": "dispatched", "cause": None, **dict.fromkeys(times)}
    ledger.on("GET", f"/v1/executions/{NAME}", execution("queued", attempts=[over | times, waiting]))
    lines = exledger("get", NAME).stdout.splitlines()
    assert lines[-2:] == ["1  requeued  runner-a  waited 0 ms  ran 2.5 s  lost", "2  dispatched  runner-a"]


def test_get_shows_why_each_attempt_ended_when_the_next_may_begin_and_what_its_policy_says(ledger: FakeLedger) -> None:
    failed = {"attempt": 1, "status": "requeued", "runner": "runner-a", "cause": "failed", "message": "KeyError: 'a'"}
    policy = {"retries": 3, "timeout_ms": None}
    waiting = {"attempts": [failed], "policy": policy, "not_before": "2026-01-02T03:04:05.000Z"}
    ledger.on("GET", f"/v1/executions/{NAME}", execution("queued", **waiting))
    shown = exledger("get", NAME).stdout
    assert "1  requeued  runner-a  failed  KeyError: 'a'" in shown
    assert '{"retries": 3}' in shown
    assert "not_before" in shown
    ledger.on("GET", f"/v1/executions/{NAME}", execution("started", **waiting))
    assert "not_before" not in exledger("get", NAME).stdout


def test_get_shows_a_failure_with_its_traceback_as_lines(ledger: FakeLedger) -> None:
    failure = {"kind": "user", "message": "no such pump", "traceback": "Traceback …\n  line 1"}
    ledger.on("GET", f"/v1/executions/{NAME}", execution("failed", failure=failure))
    lines = exledger("get", NAME).stdout.splitlines()
    assert "failure     user: no such pump" in lines
    assert lines[-3:] == ["traceback", "Traceback …", "  line 1"]


def test_an_id_cannot_lead_to_another_address(ledger: FakeLedger) -> None:
    done = exledger("get", "../pipelines")
    assert (done.exit_code, ledger.requests) == (2, [])
    assert "'../pipelines' names no execution" in done.stderr


def test_list_takes_pages_only_as_far_as_they_are_wanted(ledger: FakeLedger) -> None:
    page = {"items": [COMPLETED, QUEUED], "next": "c1", "position": "1.1"}
    ledger.on("GET", "/v1/executions", page, {**page, "next": None})
    result = exledger("list", "--limit", "1", "--status", "queued", "--json")
    assert [json.loads(line) for line in result.stdout.splitlines()] == [COMPLETED]
    [request] = ledger.requests
    assert dict(request.url.params) == {"status": "queued", "limit": "2"}


def test_list_all_follows_the_cursor_to_the_end(ledger: FakeLedger) -> None:
    page = {"items": [COMPLETED, QUEUED], "next": "c1", "position": "1.1"}
    ledger.on("GET", "/v1/executions", page, {**page, "next": None})
    result = exledger("list", "--all", "--json")
    assert len(result.stdout.splitlines()) == 4
    assert [request.url.params.get("cursor") for request in ledger.requests] == [None, "c1"]


def test_a_list_that_goes_on_says_so(ledger: FakeLedger) -> None:
    ledger.on("GET", "/v1/executions", {"items": [COMPLETED, QUEUED], "next": None, "position": "1.1"})
    assert "There are more" in exledger("list", "--limit", "1").stderr
    assert exledger("list", "--limit", "2").stderr == ""


def test_abort_sends_the_reason_and_a_key(ledger: FakeLedger) -> None:
    ledger.on("POST", f"/v1/executions/{NAME}/abort", execution("abort_requested"))
    assert exledger("abort", NAME, "--reason", "too hot").exit_code == 0
    assert ledger.posted() == [{"reason": "too hot"}]
    assert ledger.requests[-1].headers["Idempotency-Key"]


def test_events_are_a_table_of_what_happened_who_did_it_and_why(ledger: FakeLedger) -> None:
    base = {"recordedtime": "2026-01-02T03:04:05.678Z", "subject": ID}
    history = [
        {**base, "type": "executionledger.execution.queued.v1", "sequence": "0" * 19 + "7", "actor": "ada", "data": {}},
        {
            **base,
            "type": "executionledger.execution.failed.v1",
            "sequence": "0" * 19 + "9",
            "data": {"attempt": 1, "failure": {"kind": "user", "message": "no such pump"}},
        },
    ]
    ledger.on("GET", f"/v1/executions/{NAME}/events", {"items": history, "next": None, "position": "1.9"})
    lines = exledger("events", NAME).stdout.splitlines()
    assert lines[1].split()[1:] == ["execution.queued", "ada", "7"]
    assert lines[2].split()[1:] == ["execution.failed", "1", "no", "such", "pump", "9"]


def test_info_tells_the_truth_when_the_ledger_is_not_ready(ledger: FakeLedger) -> None:
    ledger.on("GET", "/readyz", {"detail": "Not ready: the views do not answer."}, status=503)
    found = json.loads(exledger("info", "--json").stdout)
    assert (found["ready"], found["problem"]) == (False, "Not ready: the views do not answer.")
    assert found["token"] == "EXLEDGER_TOKEN"


def test_info_of_a_ready_ledger_has_its_position(ledger: FakeLedger) -> None:
    ledger.on("GET", "/readyz", {"status": "ready", "position": "0.3-1.1"})
    found = json.loads(exledger("info", "--json").stdout)
    assert (found["ready"], found["problem"], found["position"]) == (True, None, "0.3-1.1")


def test_retry_asks_for_the_same_again(ledger: FakeLedger) -> None:
    ledger.on("POST", f"/v1/executions/{NAME}/retry", execution("queued", name="double-801"), status=201)
    result = exledger("retry", NAME, "--key", "k")
    assert (result.exit_code, ledger.posted()) == (0, [{}])
    assert ledger.requests[-1].headers["Idempotency-Key"] == "k"
    assert "double-801" in result.stdout


def test_rerun_reads_its_inputs_by_the_version_that_it_runs(ledger: FakeLedger) -> None:
    before = execution("failed", pipeline="double", pipeline_version=3)
    ledger.on("GET", f"/v1/executions/{NAME}", before)
    ledger.on("POST", f"/v1/executions/{ID}/rerun", QUEUED, status=201)
    result = exledger("rerun", NAME, "-i", "n=3", "-i", "code=3", "--label", "a=b", "--timeout", "5m")
    assert result.exit_code == 0, result.output
    [sent] = ledger.posted()
    assert (sent["inputs"], sent["labels"], sent["newest"]) == ({"n": 3, "code": "3"}, {"a": "b"}, False)
    assert sent["policy"] == {"timeout_ms": 300_000}
    assert ledger.requests[-2].url.params["version"] == "3"
    assert exledger("rerun", NAME, "--newest").exit_code == 0
    assert ledger.posted()[1]["newest"] is True
    assert "version" not in ledger.requests[-2].url.params


def test_rerun_waits_as_a_run_does(ledger: FakeLedger) -> None:
    ledger.on("POST", f"/v1/executions/{NAME}/retry", QUEUED, status=201)
    ledger.on("GET", f"/v1/executions/{ID}", execution("failed", failure={"kind": "user", "message": "no"}))
    assert exledger("retry", NAME, "--wait").exit_code == 1


def test_get_shows_what_was_made_from_it(ledger: FakeLedger) -> None:
    linked = {"id": ID, "name": "double-801", "link": "retry", "status": "failed"}
    ledger.on("GET", f"/v1/executions/{NAME}", execution("failed", linked=[linked]))
    assert "retry  double-801  failed" in exledger("get", NAME).stdout


@pytest.mark.parametrize(
    ("abort", "told"),
    [
        ({"reason": "too hot", "outcome": "acknowledged", "took_ms": 34}, "by bob: too hot; acknowledged after 34 ms"),
        ({"reason": None, "outcome": None, "took_ms": None}, "by bob; under way"),
    ],
)
def test_an_abort_is_told_with_its_outcome_and_how_long_it_took(
    ledger: FakeLedger, abort: dict[str, Any], told: str
) -> None:
    asked = {"requested_by": "bob", "requested_at": "2023-11-14T22:13:20Z", **abort}
    ledger.on("GET", f"/v1/executions/{NAME}", execution("aborted", abort=asked))
    assert told in exledger("get", NAME).stdout
