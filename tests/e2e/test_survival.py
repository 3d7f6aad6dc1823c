"""Real processes are killed and stopped in the middle of real work; then the log itself is read, event by event."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from e2e.program import ENVIRONMENT, Dev, decided, exledger, services
from execution_ledger.log.kafka import KafkaLog
from execution_ledger.messages.events import Completed, Event, Requeued, ShardClaimed, Started, decode_event
from execution_ledger.settings import KafkaSettings
from execution_ledger.verify.log.history import check_log
from execution_ledger.verify.reading import read_log
from execution_ledger.verify.views.postgres import check_views

ENDED_WITHIN_S = 120


def post_batch(api: httpx.Client, pipeline: str, inputs: list[dict[str, Any]], key: str) -> list[str]:
    body = {"executions": [{"pipeline": pipeline, "inputs": one} for one in inputs]}
    answer = decided(lambda: api.post("/v1/batches", json=body, headers={"Idempotency-Key": key}))
    assert answer.status_code in (200, 201), answer.text
    return [execution["id"] for execution in answer.json()["executions"]]


def ended(api: httpx.Client, ids: list[str]) -> list[dict[str, Any]]:
    """Every record once it has ended; each wait is a long poll of the server's, bounded."""

    def wait_for(execution_id: str) -> dict[str, Any]:
        for _ in range(ENDED_WITHIN_S // 20):
            answer = api.get(f"/v1/executions/{execution_id}", params={"wait": 20})
            record: dict[str, Any] = answer.json()
            if answer.status_code == 200 and record["status"] in ("completed", "failed", "aborted"):
                return record
        raise AssertionError(record)

    with ThreadPoolExecutor(16) as threads:
        return list(threads.map(wait_for, ids))


def history(dev: Dev) -> list[Event]:
    """The whole log, which must keep its promises at any time."""

    async def read() -> list[Event]:
        async with KafkaLog(KafkaSettings(bootstrap_servers=dev.field("Kafka")), "test") as log:
            found = await read_log(log)
            assert check_log(found).breaches.kept == []
            return [decode_event(raw) for shard in found.values() for raw, _ in shard]

    return asyncio.run(read())


def mine(happened: list[Event], ids: list[str], fact: type) -> list[Event]:
    return [event for event in happened if event.subject in ids and isinstance(event.data, fact)]


def test_a_thousand_in_one_batch_and_the_views_are_the_fold_of_the_log(dev: Dev, api: httpx.Client) -> None:
    ids = post_batch(api, "double", [{"n": number} for number in range(1_000)], key="thousand")
    assert len(set(ids)) == 1_000
    records = ended(api, ids)
    assert [record["outputs"] for record in records] == [{"n": 2 * number} for number in range(1_000)]
    happened = history(dev)
    assert len(mine(happened, ids, Completed)) == 1_000
    check_all_views(dev)


def test_views_are_made_anew_under_those_who_read_them(dev: Dev, api: httpx.Client) -> None:
    [first] = post_batch(api, "double", [{"n": 1}], key="anew-before")
    ended(api, [first])
    made = exledger(dev, "views", "rebuild")
    assert made.returncode == 0, made.stderr
    assert "in use now" in made.stderr
    assert api.get(f"/v1/executions/{first}").json()["status"] == "completed"
    assert ended(api, post_batch(api, "double", [{"n": 2}], key="anew-after"))[0]["outputs"] == {"n": 4}
    check_all_views(dev)


def check_all_views(dev: Dev) -> None:
    """Column by column: what Postgres holds is what folding the log gives."""

    async def compare() -> None:
        async with KafkaLog(KafkaSettings(bootstrap_servers=dev.field("Kafka")), "test") as log:
            shards = await log.shards()
            dsn = dev.field("Postgres").split('"')[1]
            for shard in range(shards):
                found = await check_views(log, dsn, shard, shards, lambda _: None)
                assert (found.breaches.kept, found.stopped) == ([], None)

    asyncio.run(compare())


@pytest.mark.parametrize("victim", ["ledger", "projector", "dispatcher", "gateway", "runner"])
def test_killing_a_service_in_the_middle_leaves_one_outcome_each(dev: Dev, api: httpx.Client, victim: str) -> None:
    ids = post_batch(api, "sleepy", [{"seconds": 0.5 + number / 50} for number in range(100)], key=f"kill-{victim}")
    os.kill(services(dev)[victim], signal.SIGKILL)
    dev.wait_for(f"{victim} restarting")
    assert {record["status"] for record in ended(api, ids)} == {"completed"}
    happened = history(dev)
    assert len(mine(happened, ids, Completed)) == len(ids)
    reentered = len(mine(happened, ids, Started)) - len(ids)
    assert reentered <= len(mine(happened, ids, Requeued)), "entered again only as a new attempt"
    if victim != "runner":
        assert reentered == 0


@contextmanager
def second_ledger(dev: Dev) -> Iterator[subprocess.Popen[bytes]]:
    settings = {"EXLEDGER__KAFKA__BOOTSTRAP_SERVERS": dev.field("Kafka")}
    command = [sys.executable, "-m", "execution_ledger", "serve", "ledger"]
    with subprocess.Popen(command, env=ENVIRONMENT | settings, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_claims(process: subprocess.Popen[bytes], count: int) -> None:
    assert process.stderr
    for line in process.stderr:
        count -= b"shard claimed" in line
        if not count:
            return
    raise AssertionError("it ended before it had claimed its shards")


def test_a_second_ledger_takes_over_from_a_stopped_one_whose_writes_never_become_visible(
    dev: Dev, api: httpx.Client
) -> None:
    first = services(dev)["ledger"]
    owners_before = {event.data.owner for event in history(dev) if isinstance(event.data, ShardClaimed)}
    with second_ledger(dev) as second:
        os.kill(first, signal.SIGSTOP)
        try:
            wait_for_claims(second, 4)
            ids = post_batch(api, "double", [{"n": number} for number in range(50)], key="while-stopped")
        finally:
            os.kill(first, signal.SIGCONT)
        assert {record["status"] for record in ended(api, ids)} == {"completed"}
        second.send_signal(signal.SIGTERM)
        second.wait(30)
    assert post_batch(api, "double", [{"n": 1}], key="after")
    happened = history(dev)
    owners = {event.data.owner for event in happened if isinstance(event.data, ShardClaimed)}
    assert len(owners - owners_before) == 1


def test_a_repeat_finds_the_first_at_the_same_moment_and_after_a_restart(dev: Dev, api: httpx.Client) -> None:
    def post(_: int) -> httpx.Response:
        body = {"pipeline": "double", "inputs": {"n": 1}}
        return decided(lambda: api.post("/v1/executions", json=body, headers={"Idempotency-Key": "once"}))

    with ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(post, range(8)))
    os.kill(services(dev)["ledger"], signal.SIGKILL)
    dev.wait_for("ledger restarting")
    answers.append(post(9))
    assert len({answer.json()["id"] for answer in answers}) == 1
    codes = [answer.status_code for answer in answers]
    assert codes.count(200) >= 8  # and 201, unless the first answer was 202
    assert set(codes) <= {200, 201}
    other = {"pipeline": "double", "inputs": {"n": 2}}
    refused = decided(lambda: api.post("/v1/executions", json=other, headers={"Idempotency-Key": "once"}))
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"


def test_the_limit_of_a_pipeline_holds_over_all_shards(dev: Dev, api: httpx.Client) -> None:
    ids = post_batch(api, "one_at_a_time", [{"n": 1}] * 12, key="limit")
    ended(api, ids)
    assert len(mine(history(dev), ids, Completed)) == 12  # which checks limits, too


def test_a_post_that_was_answered_is_in_the_very_next_list(api: httpx.Client) -> None:
    for number in range(30):
        posted = api.post("/v1/executions", json={"pipeline": "double", "inputs": {"n": number}}).json()
        assert api.get("/v1/executions", params={"limit": 1}).json()["items"][0]["id"] == posted["id"]
        assert api.get(f"/v1/executions/{posted['id']}").status_code == 200


def test_waiting_for_an_end_never_misses_it(api: httpx.Client) -> None:
    """The end may come between two looks at the views; whoever waits is told all the same."""

    def run(number: int) -> float:
        posted = api.post("/v1/executions", json={"pipeline": "double", "inputs": {"n": number}}).json()
        answer = api.get(f"/v1/executions/{posted['id']}", params={"wait": 30})
        assert answer.json()["status"] == "completed"
        return answer.elapsed.total_seconds()

    with ThreadPoolExecutor(4) as callers:
        assert max(callers.map(run, range(300))) < 20
