"""Kafka or Postgres stands still for ten seconds in the middle: nothing is lost, nothing doubled, and it goes on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import httpx

from e2e.program import Dev, decided, descendants

AWAY_S = 10.0
BACK_WITHIN_S = 30.0


@contextmanager
def standing_still(dev: Dev, program: str) -> Iterator[None]:
    pids = [pid for pid, command in descendants(dev.pid).items() if program in command]
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def post(api: httpx.Client, key: str) -> httpx.Response:
    body = {"pipeline": "double", "inputs": {"n": 1}}
    return api.post("/v1/executions", json=body, headers={"Idempotency-Key": key})


def wait_until_ready(api: httpx.Client) -> None:
    """Each question is answered when the gateway knows; asked within bounds."""
    deadline = time.monotonic() + BACK_WITHIN_S
    while api.get("/readyz").status_code != 200:
        assert time.monotonic() < deadline


def check_one_execution_each(api: httpx.Client, keys: list[str]) -> None:
    answers = [decided(partial(post, api, key)) for key in keys]
    assert {answer.status_code for answer in answers} <= {200, 201}
    ids = {answer.json()["id"] for answer in answers}
    assert len(ids) == len(keys)
    for execution_id in ids:
        record = api.get(f"/v1/executions/{execution_id}", params={"wait": 30}).json()
        assert record["status"] == "completed"


def test_without_postgres_executions_go_on_and_reads_say_so(dev: Dev, api: httpx.Client) -> None:
    keys = [f"postgres-{number}" for number in range(30)]
    with standing_still(dev, "postgres"):
        until = time.monotonic() + AWAY_S
        assert {post(api, key).status_code for key in keys} == {201}
        while time.monotonic() < until:
            read = api.get("/v1/executions")
            assert read.status_code == 503
            assert int(read.headers["Retry-After"]) > 0
    wait_until_ready(api)
    check_one_execution_each(api, keys)


def test_without_kafka_a_caller_learns_that_the_outcome_is_unknown_and_asks_again(dev: Dev, api: httpx.Client) -> None:
    keys = [f"kafka-{number}" for number in range(10)]
    assert {post(api, key).status_code for key in keys[:5]} == {201}
    with standing_still(dev, "kafka.Kafka"):
        until = time.monotonic() + AWAY_S
        answers = [post(api, keys[5])]
        while time.monotonic() < until:
            answers.append(post(api, keys[6]))
        assert {answer.status_code for answer in answers} <= {202, 503}
        assert all(answer.headers["content-type"].startswith("application/") for answer in answers)
    wait_until_ready(api)
    check_one_execution_each(api, keys)
