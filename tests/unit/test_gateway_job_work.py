"""Completing jobs beside everything else: what is tried again, what is given up; nothing of it ends a gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from execution_ledger.errors import BadRequest, Unavailable
from execution_ledger.gateway.writes.again import Ended
from execution_ledger.gateway.writes.job_work import TRIES_MAX, JobWork
from execution_ledger.lifecycle import end_tasks
from execution_ledger.messages.steps import Reusable
from execution_ledger.trials.simulate.loop import VirtualLoop


class FakeViews:
    """Names these jobs as open; each look at a job takes the next of `failures`, or finds nothing to do."""

    def __init__(self, *failures: Exception, open_jobs: Sequence[str] | Exception = ()) -> None:
        self.failures, self.found, self.looks = list(failures), open_jobs, list[str]()

    async def job(self, job_id: str) -> bytes | None:
        self.looks.append(job_id)
        if self.failures:
            raise self.failures.pop(0)
        return None

    async def asked(self, job_id: str) -> Collection[str]:
        return ()

    async def first_events(self, execution_ids: Sequence[str]) -> Mapping[str, Ended]:
        return {}

    async def given(self, execution_id: str) -> Reusable:
        return {}

    async def open_jobs(self) -> Sequence[str]:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def looks(views: FakeViews, *taken: str) -> list[str]:
    """Which jobs are looked at in an hour, where these are asked for."""

    async def work() -> None:
        sender: Any = None
        work = JobWork(sender, views)
        task = asyncio.create_task(work.run())
        for job_id in taken:
            work.take(job_id)
        await asyncio.sleep(3_600)
        assert not task.done(), "whatever happens, the gateway goes on"
        await end_tasks([task])

    loop = VirtualLoop(1)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(work())
    return views.looks


def test_what_others_have_left_is_taken_up_at_the_start_and_what_is_asked_for_twice_is_done_once() -> None:
    assert sorted(looks(FakeViews(open_jobs=["a", "b"]), "b", "c", "c")) == ["a", "b", "c"]


def test_what_is_away_is_asked_again_and_not_for_ever() -> None:
    away = Unavailable("Postgres does not answer.")
    assert looks(FakeViews(away, away), "a") == ["a"] * 3
    assert looks(FakeViews(*[away] * 100), "a") == ["a"] * TRIES_MAX


def test_a_job_that_raises_harms_no_other() -> None:
    assert sorted(looks(FakeViews(ZeroDivisionError("a mistake of ours")), "a", "b")) == ["a", "b"]


def test_a_start_without_knowing_what_is_open_is_a_start() -> None:
    assert looks(FakeViews(open_jobs=BadRequest("too much to look through")), "a") == ["a"]
