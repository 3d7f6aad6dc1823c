"""The client against a real gateway: what is asked once is done once, and what is refused says why."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from execution_ledger import Client
from execution_ledger.errors import BadRequest, BadSettings, Unavailable
from execution_ledger.sdk.client.http import TRIES_KNOWN_MAX, Refused
from unit.client_stage import ID, NAME, GatewayTransport, Told, real_gateway, record

Stage = tuple[Client, GatewayTransport]


@pytest.fixture(scope="module")
def gateway() -> Iterator[Stage]:
    with real_gateway() as stage:
        yield stage


def test_a_run_is_in_the_log_when_it_is_answered(gateway: Stage) -> None:
    client, transport = gateway
    before = transport.queued()
    run = client.run("double", twin="pump-7", inputs={"n": 21}, labels={"team": "blue"}, priority=3)
    assert run.name.startswith("double-")
    assert transport.queued() == before + 1


def test_the_same_key_is_the_same_run(gateway: Stage) -> None:
    client, transport = gateway
    before = transport.queued()
    runs = [client.run("double", inputs={"n": 1}, key="2026-11-22") for _ in range(3)]
    assert len({(run.id, run.name) for run in runs}) == 1
    assert transport.queued() == before + 1


def test_without_a_key_each_call_is_a_run_of_its_own(gateway: Stage) -> None:
    client, transport = gateway
    before = transport.queued()
    assert client.run("double", inputs={"n": 1}).id != client.run("double", inputs={"n": 1}).id
    assert transport.queued() == before + 2


def test_changes_are_said_as_a_run_says_them_and_each_retry_has_a_key() -> None:
    run = {"id": ID, "name": NAME}
    batch = {"id": "b", "executions": [], "position": "1.1"}
    told = Told(run, run, batch)
    told.client.rerun(NAME, inputs={"n": 3}, newest=True, policy={"timeout": "10m"})
    told.client.retry(7, key="k")
    told.client.retry_batch("b", ["aborted"])
    paths = [request.url.path for request in told.requests]
    assert paths == [f"/v1/executions/{NAME}/rerun", "/v1/executions/7/retry", "/v1/batches/b/retry"]
    bodies = [json.loads(request.content) for request in told.requests]
    changes = {"inputs": {"n": 3}, "newest": True, "policy": {"timeout_ms": 600_000}}
    assert bodies == [changes, {}, {"statuses": ["aborted"]}]
    assert told.requests[1].headers["Idempotency-Key"] == "k"
    assert all(request.headers["Idempotency-Key"] for request in told.requests)


def test_a_client_may_be_used_from_several_threads(gateway: Stage) -> None:
    client, transport = gateway
    before = transport.queued()
    with ThreadPoolExecutor(8) as threads:
        runs = list(threads.map(lambda n: client.run("double", inputs={"n": n}), range(40)))
    assert len({run.id for run in runs}) == 40
    assert transport.queued() == before + 40


def test_a_connection_that_breaks_after_the_ledger_has_acted_leaves_one_execution(gateway: Stage) -> None:
    client, transport = gateway
    before, asked = transport.queued(), len(transport.requests)
    transport.drop = 2
    run = client.run("double", inputs={"n": 1})
    assert transport.queued() == before + 1
    tries = transport.requests[asked:]
    assert len(tries) == 3
    assert len({request.headers["Idempotency-Key"] for request in tries}) == 1
    assert run.abort() == "aborted"


def test_an_answer_that_never_comes_is_given_up_and_the_same_key_still_finds_the_run(gateway: Stage) -> None:
    client, transport = gateway
    before = transport.queued()
    transport.drop = TRIES_KNOWN_MAX
    with pytest.raises(Unavailable):
        client.run("double", inputs={"n": 1}, key="never heard")
    client.run("double", inputs={"n": 1}, key="never heard")
    assert transport.queued() == before + 1


def test_a_batch_whose_answer_was_lost_is_still_one_batch(gateway: Stage) -> None:
    client, transport = gateway
    before = transport.queued()
    transport.drop = 1
    multi = client.multi_run("double", ["pump-1", "pump-2", "pump-3"], inputs={"n": 1}, key="nightly")
    again = client.multi_run("double", ["pump-1", "pump-2", "pump-3"], inputs={"n": 1}, key="nightly")
    assert transport.queued() == before + 3
    assert len(multi.runs) == 3
    assert multi.rejected == []
    assert (multi.id, [run.name for run in multi.runs]) == (again.id, [run.name for run in again.runs])


def test_one_twin_is_not_a_list_of_letters(gateway: Stage) -> None:
    client, _ = gateway
    with pytest.raises(BadRequest, match=r"Write \['pump-7'\]"):
        client.multi_run("double", "pump-7", inputs={"n": 1})


def test_a_policy_is_said_as_a_pipeline_would_say_it() -> None:
    ledger = Told(record("queued"))
    ledger.client.run("double", policy={"timeout": "10m", "retries": {"user": 2, "lost": 1}, "backoff": "5s"})
    asked = json.loads(ledger.requests[0].content)["policy"]
    assert (asked["timeout_ms"], asked["retries"], asked["losses_max"]) == (600_000, 2, 1)
    assert asked["backoff"]["first_ms"] == 5_000


def test_a_policy_that_cannot_be_is_refused_before_anything_is_asked(gateway: Stage) -> None:
    client, transport = gateway
    before = transport.queued()
    with pytest.raises(BadRequest, match="retries"):
        client.run("double", inputs={"n": 1}, policy={"retries": 1_000})
    with pytest.raises(BadRequest, match="at most once"):
        client.multi_run("double", ["pump-1"], inputs={"n": 1}, policy={"retries": 1, "delivery": "at_most_once"})
    assert transport.queued() == before


def test_a_key_of_another_request_is_refused(gateway: Stage) -> None:
    client, _ = gateway
    client.run("double", inputs={"n": 1}, key="taken")
    with pytest.raises(Refused) as refused:
        client.run("double", inputs={"n": 2}, key="taken")
    assert refused.value.problem["type"].endswith(":key-reused")


def test_what_was_aborted_before_it_was_dispatched_is_aborted_at_once_and_only_once(gateway: Stage) -> None:
    client, _ = gateway
    run = client.run("double", inputs={"n": 1})
    assert run.abort(reason="wrong pump", key="stop") == "aborted"
    with pytest.raises(Refused, match="It is already aborted") as refused:
        run.abort()
    assert refused.value.problem["code"] == "already_ended"


def test_pipelines_are_listed_with_what_they_declare(gateway: Stage) -> None:
    client, _ = gateway
    [listed] = client.pipelines()
    assert listed == client.pipeline("double") == client.pipeline("double", version=1)
    assert (listed.name, listed.version, listed.definition.inputs["n"].type) == ("double", 1, "json")
    assert listed.registered_at.tzinfo is not None


def test_an_unknown_pipeline_is_refused_in_the_ledgers_words(gateway: Stage) -> None:
    client, _ = gateway
    with pytest.raises(BadRequest, match="dubble"):
        client.pipeline("dubble")


def test_views_that_stay_away_are_told_as_such_and_never_as_nothing_there(gateway: Stage) -> None:
    client, _ = gateway
    run = client.run("double", inputs={"n": 1})
    with pytest.raises(Unavailable, match="cannot answer now"):
        run.execution()
    with pytest.raises(Unavailable, match="cannot answer now"):
        run.wait(timeout=0)


def test_what_the_caller_names_comes_before_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setenv("EXLEDGER_URL", "http://named")
    monkeypatch.setenv("EXLEDGER_TOKEN", "named")
    found = [Client(), Client("http://given/"), Client(token="given")]
    addresses = [client.connection.address for client in found]
    assert [address.url for address in addresses] == ["http://named", "http://given", "http://named"]
    assert [address.token for address in addresses] == ["named", "named", "given"]
    for client in found:
        client.close()
    with pytest.raises(Unavailable, match="No ledger runs"):
        Client(folder=tmp_path_factory.mktemp("empty"))


def test_a_token_that_cannot_be_sent_is_refused_before_anything_is_asked() -> None:
    with pytest.raises(BadSettings, match="Client"):
        Client("http://ledger", "tü")


def test_neither_the_package_nor_its_commands_load_an_http_client_before_they_need_one() -> None:
    code = "import sys, execution_ledger, execution_ledger.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"httpx", "pydantic", "rich", "execution_ledger.sdk.client.client"} & set(loaded)


def test_what_there_is_to_run_on_is_registered_read_and_removed(gateway: Stage) -> None:
    client, transport = gateway
    registered = client.templates.put("motor", {"kw": "number", "site": {"type": "string", "required": False}})
    assert (registered.key, registered.version) == ("motor", 1)
    transport.drop = 1  # the answer is lost, and asked for again
    assert client.twins.put("motor-1", template="motor", values={"kw": 2}, labels={"line": "2"}).version == 1
    assert client.twins.put("motor-1", template="motor", values={"kw": 3}).version == 2
    found = client.twins.get("motor-1")
    assert (found.definition.values, found.definition.labels, found.properties) == (
        {"kw": 3},
        None,
        {"kw": 3, "site": None},
    )
    assert [twin.key for twin in client.twins.all(template="motor")] == ["motor-1"]
    assert client.templates.get("motor").definition.properties["kw"].type == "number"
    assert client.experiments.put("winter", "Winter", description="cold").key == "winter"
    assert [each.definition.name for each in client.experiments.all()] == ["Winter"]
    assert client.experiments.get("winter").definition.description == "cold"
    with pytest.raises(BadRequest, match=r"values\.kw: must be a number"):
        client.twins.put("motor-1", template="motor", values={"kw": "3"})
    with pytest.raises(BadRequest, match="would no longer fit motor-1"):
        client.templates.put("motor", {"kw": "string"})
    client.twins.remove("motor-1")
    with pytest.raises(BadRequest, match="exledger twins add motor-1"):
        client.twins.get("motor-1")
    with pytest.raises(BadRequest, match="No twin 'motor-1' is registered"):
        client.twins.remove("motor-1")
