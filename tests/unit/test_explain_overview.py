"""What waits where, and which runners are there; and who gets an answer at all."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import UTC, datetime
from http import HTTPStatus
from unittest.mock import AsyncMock

import pytest

from execution_ledger.access import AccessToken
from execution_ledger.answering import Reply, reply_to
from execution_ledger.clock import SystemClock
from execution_ledger.dispatcher import answering
from execution_ledger.dispatcher.answering import Answers, answer
from execution_ledger.dispatcher.board import Token
from execution_ledger.dispatcher.overview import queue_report, runners_report
from execution_ledger.messages.commands import Hold
from execution_ledger.messages.ids import shard_of
from execution_ledger.messages.position import position_text
from execution_ledger.settings import GatewaySettings
from unit.dispatcher_stage import Cluster, Dispatcher, Runner, acting

TOKEN = "a-token"
DIGEST = hashlib.sha256(TOKEN.encode()).hexdigest()


def get(path: str, *headers: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: here", *headers, "", ""]).encode()


def test_the_queue_has_a_line_per_version_with_what_it_waits_for() -> None:
    cluster = Cluster()
    dispatcher = acting(cluster)
    runner = Runner(cluster, slots=3, offers=("train",))
    runner.beat()
    for shard in (1, 2, 1):
        cluster.submit("train", limit=1, shard=shard)
    cluster.submit("load")
    dispatcher.work()
    dispatcher.ticks(5)
    report = queue_report(dispatcher.desk)
    assert (report.waiting, report.left_off) == (3, 0)
    train, load = report.items
    assert (train.pipeline, train.waiting, train.limit, train.used) == ("train", 2, 1, 1)
    assert (train.runners.runners, train.runners.slots, train.runners.free) == (1, 3, 2)
    assert train.oldest_ms == 5_000
    assert (load.pipeline, load.waiting, load.limit, load.used, load.runners.runners) == ("load", 1, None, 0, 0)


def test_a_runners_line_has_its_slots_and_what_it_lists() -> None:
    cluster = Cluster()
    dispatcher = acting(cluster)
    runner = Runner(cluster, slots=3)
    runner.beat()
    ids = [cluster.submit(), cluster.submit(shard=2)]
    dispatcher.work()
    for execution_id in ids:
        runner.start(Token(execution_id, 1))
    runner.beat()
    dispatcher.work()
    cluster.force_abort(ids[0])
    dispatcher.ticks(2)
    [line] = runners_report(dispatcher.desk).items
    assert (line.process, line.slots, line.taken, line.held, line.silent_ms) == ("r1", 3, 2, 1, 2_000)
    assert [(token.id, token.phase, token.name is None) for token in line.tokens] == [
        (ids[1], "started", False),
        (ids[0], "running", True),
    ]
    assert (line.offers, line.state) == ({"train": "train-v1"}, "ready")


def test_a_runner_that_gets_nothing_new_says_why() -> None:
    cluster = Cluster()
    dispatcher = acting(cluster)
    runner = Runner(cluster)
    runner.draining = True
    runner.beat()
    dispatcher.work()
    assert runners_report(dispatcher.desk).items[0].state == "draining"
    dispatcher.ticks(8)
    assert runners_report(dispatcher.desk).items[0].state == "silent"


def test_only_an_active_dispatcher_answers() -> None:
    reply = answer(Dispatcher(Cluster()).desk, "/queue")
    assert reply.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert "stands by" in json.loads(reply.body)["detail"]


def test_what_is_asked_is_answered_and_nothing_else() -> None:
    cluster = Cluster()
    dispatcher = acting(cluster)
    execution_id = cluster.submit()
    dispatcher.work()
    explained = answer(dispatcher.desk, f"/explain/{execution_id}")
    assert (explained.status, json.loads(explained.body)["reasons"][0]["code"]) == (HTTPStatus.OK, "no_runner")
    assert json.loads(answer(dispatcher.desk, "/queue").body)["waiting"] == 1
    assert json.loads(answer(dispatcher.desk, "/runners").body)["items"] == []
    for path in ("/", "/explain", "/explain/nobody", "/queue/1", "/../runners"):
        assert answer(dispatcher.desk, path).status == HTTPStatus.NOT_FOUND


async def test_an_answer_includes_what_the_asker_was_told_before() -> None:
    """Who holds an execution and then asks about it never hears that it waits for a runner."""
    cluster = Cluster()
    dispatcher = acting(cluster)
    execution_id = cluster.submit()
    dispatcher.work()
    ledger = cluster.ledgers[shard_of(execution_id)]
    read = {shard_of(execution_id): ledger.history[-1].sequence}
    answers = Answers(dispatcher.desk, lambda: read)
    cluster.ask(Hold(command_id="hold-it", actor="ada", execution_id=execution_id))
    position = position_text({shard_of(execution_id): ledger.history[-1].sequence})
    asked = asyncio.ensure_future(answers.answer(f"/explain/{execution_id}/{position}"))
    as_it_is = await answers.answer(f"/explain/{execution_id}/")
    assert json.loads(as_it_is.body)["reasons"][0]["code"] == "no_runner"
    assert not asked.done()
    dispatcher.work()
    read[shard_of(execution_id)] += 1
    answers.moved.fire()
    assert json.loads((await asked).body)["reasons"][0]["code"] == "held"


async def test_a_position_that_is_not_reached_is_not_waited_for_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "BEHIND_S_MAX", 0.01)
    answers = Answers(acting(Cluster()).desk, lambda: {1: 4})
    reply = await answers.answer("/queue/1.5")
    assert (reply.status, json.loads(reply.body)["detail"]) == (504, "This dispatcher has only read as far as 1.4.")
    assert (await answers.answer("/queue/1.4")).status == HTTPStatus.OK
    assert (await answers.answer("/queue")).status == HTTPStatus.NOT_FOUND


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (get("/queue", f"Authorization: Bearer {TOKEN}"), HTTPStatus.OK),
        (get("/queue?page=2", f"authorization: bearer {TOKEN}"), HTTPStatus.OK),
        (get("/queue"), HTTPStatus.UNAUTHORIZED),
        (get("/queue", "Authorization: Bearer wrong"), HTTPStatus.UNAUTHORIZED),
        (get("/queue", f"Authorization: Bearer {DIGEST}"), HTTPStatus.UNAUTHORIZED),
        (get("/queue", f"Authorization: Basic {TOKEN}"), HTTPStatus.UNAUTHORIZED),
        (get("/queue", f"Authorization: Bearer {TOKEN}", method="POST"), HTTPStatus.METHOD_NOT_ALLOWED),
        (b"\x16\x03\x01 what is this\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET /\xff\xfe HTTP/1.1\r\n\r\n", HTTPStatus.BAD_REQUEST),
    ],
)
async def test_nobody_without_the_token_learns_anything(head: bytes, status: HTTPStatus) -> None:
    asked: list[str] = []

    async def answer_path(path: str) -> Reply:
        asked.append(path)
        return Reply(HTTPStatus.OK, b"{}")

    token = AccessToken(GatewaySettings(token_sha256=DIGEST), SystemClock())
    assert (await reply_to(head, token, answer_path)).status == status
    assert asked == (["/queue"] if status == HTTPStatus.OK else [])


async def test_an_expired_token_opens_no_process() -> None:
    expired = GatewaySettings(token_sha256=DIGEST, token_expires=datetime(2026, 1, 1, tzinfo=UTC))
    reply = await reply_to(
        get("/queue", f"Authorization: Bearer {TOKEN}"),
        AccessToken(expired, SystemClock()),
        AsyncMock(return_value=Reply(HTTPStatus.OK, b"")),
    )
    assert (reply.status, json.loads(reply.body)["detail"]) == (HTTPStatus.UNAUTHORIZED, "This token has expired.")
