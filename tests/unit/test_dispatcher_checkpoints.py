"""What a start message brings of the attempts before, through the dispatcher's shell and the real ledger."""

from __future__ import annotations

from typing import Any

import pytest

from execution_ledger.log.protocol import Lane, Topic
from execution_ledger.messages.ids import shard_of
from execution_ledger.messages.inbox import Start, Token
from execution_ledger.messages.parts import Backoff, Failure, Policy
from execution_ledger.messages.payload import json_payload
from execution_ledger.messages.reports import AnyReport, ReportCheckpoint, ReportFailed, ReportStarted
from execution_ledger.settings import DispatcherSettings
from unit.test_dispatcher_service import RUNNER, Scene, on_stage

AT_ONCE = Policy(retries=3, backoff=Backoff(first_ms=0, jitter=0))


@pytest.mark.parametrize("kept_bytes", [0, 1_000_000])
def test_an_attempt_begins_with_the_newest_checkpoint_of_those_before_it(kept_bytes: int) -> None:
    async def scenario(scene: Scene) -> None:
        dispatcher = scene.dispatcher(DispatcherSettings(starts_cache_bytes_max=kept_bytes))
        await dispatcher.ready.wait()
        await scene.beat()
        await scene.submit(policy=AT_ONCE)
        for attempt, said in enumerate([(1, 2), (3,), (), ()], 1):
            start = (await scene.inbox(attempt))[-1]
            assert isinstance(start, Start)
            given.append(start.checkpoint and start.checkpoint.value())
            await fail_behind(scene, start.token, *said)

    given: list[Any] = []
    on_stage(scenario)
    assert given == 3 * [None, {"rows": 2}, {"rows": 3}, {"rows": 3}]


async def fail_behind(scene: Scene, token: Token, *checkpoints: int) -> None:
    """As code does that came so far."""
    reports: list[tuple[type[AnyReport], dict[str, Any]]] = [
        (ReportStarted, {}),
        *((ReportCheckpoint, {"value": json_payload({"rows": rows})}) for rows in checkpoints),
        (ReportFailed, {"failure": Failure(kind="user", message="no")}),
    ]
    for ordinal, (kind, fields) in enumerate(reports, 1):
        now_ms = scene.world.clock.now_ms()
        report = kind(**token.model_dump(), ordinal=ordinal, runner=RUNNER, time=now_ms, **fields)
        await scene.send(Lane(Topic.REPORTS, shard_of(token.execution_id)), report)
