"""What `verify` says of jobs: each asks each of its targets once, as far as it was answered."""

from __future__ import annotations

from typing import Any

import pytest

from execution_ledger.ledger.shard import REMEMBER_MS
from execution_ledger.messages.base import rfc3339
from execution_ledger.messages.events import (
    Aborted,
    AbortRequested,
    CommandRejected,
    CommandRepeated,
    Fact,
    JobOpened,
)
from execution_ledger.messages.parts import Outcome, Refusal
from execution_ledger.messages.payload import json_payload
from execution_ledger.verify.log.jobs import Jobs
from unit.spec import ID, NOW_MS


def refused(code: str) -> CommandRejected:
    return CommandRejected(command="submit.v1", keyed=False, refusal=Refusal(code=code, detail="no"))


def asked_twice(*facts: Fact, apart_ms: int = 1) -> int:
    """How often, of one command of one job."""
    jobs = Jobs()
    for sequence, fact in enumerate(facts, 1):
        told: Any = {"causationid": "job/j", "commandid": "c", "shard": 1, "sequence": sequence, "data": fact}
        jobs.follow(told | {"recordedtime": rfc3339(NOW_MS + sequence * apart_ms)})
    return len(jobs.twice)


@pytest.mark.parametrize("code", ["already_ended", "id_too_old", "id_from_future", "not_above_ordinal"])
def test_who_was_refused_for_the_time_in_its_id_is_asked_for_again(code: str) -> None:
    assert asked_twice(refused(code), refused(code)) == (code == "already_ended")
    assert asked_twice(refused(code), AbortRequested(), Aborted(outcome="never_started")) == (code == "already_ended")


def test_a_refusal_that_was_forgotten_binds_nobody() -> None:
    again = refused("business_id_live"), AbortRequested()
    assert asked_twice(*again, apart_ms=REMEMBER_MS - 1) == 1
    assert asked_twice(*again, apart_ms=REMEMBER_MS) == 0
    assert asked_twice(AbortRequested(), AbortRequested(), apart_ms=REMEMBER_MS) == 1


def test_what_was_decided_is_asked_for_once() -> None:
    repeated = CommandRepeated(command="submit.v1", same_body=True, first=Outcome(sequence=1, subject="s"))
    assert asked_twice(AbortRequested(), Aborted(outcome="never_started"), repeated) == 0
    assert asked_twice(AbortRequested(), AbortRequested()) == 1


def test_a_job_is_opened_once() -> None:
    jobs, job = Jobs(), JobOpened(job_id=ID, action="hold", count=1, targets=json_payload([ID]))
    assert jobs.open(job) is None
    assert jobs.open(job) == f"job {ID} was opened before"
