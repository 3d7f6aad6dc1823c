"""Retries by kind of failure, their backoff, and the deadlines: what is decided, and when it may be."""

from __future__ import annotations

import pytest

from execution_ledger.domain.retrying import backoff_ms
from execution_ledger.messages import events
from execution_ledger.messages.commands import Dispatch, ExpireAttempt, ExpireQueued, ForceAbort, RequestAbort
from execution_ledger.messages.events import Fact, decode_event, encode_event, make_event
from execution_ledger.messages.parts import Backoff, Failure, Policy
from execution_ledger.messages.payload import json_payload
from execution_ledger.messages.reports import ReportCompleted, ReportFailed, ReportReleased, ReportStarted
from unit.spec import CLAIM, ID, NOW_MS, RUNNER, Given, dispatched, failure, given, queued, started

_ASK = {"command_id": "c-1", "actor": "ada", "execution_id": ID}
STEADY = Backoff(first_ms=1_000, factor=3, max_ms=5_000, jitter=0)
QUOTA = Policy(losses_max=1, retries=2, timeout_retries=1, infrastructure_retries=1, timeout_ms=10_000, backoff=STEADY)
ONCE = Policy(delivery="at_most_once", retries=5, timeout_retries=5, timeout_ms=10_000)


def said(attempt: int = 1) -> dict[str, object]:
    return {"execution_id": ID, "attempt": attempt, "ordinal": 9, "runner": RUNNER, "time": NOW_MS}


def failed(attempt: int = 1, kind: str = "user") -> ReportFailed:
    return ReportFailed(**said(attempt), failure=failure(kind))


def expire(cause: str, attempt: int = 1) -> ExpireAttempt:
    return ExpireAttempt(**_ASK, claim=CLAIM, attempt=attempt, cause=cause)


def requeued(attempt: int, cause: str, not_before: int | None = None, kind: str | None = None) -> events.Requeued:
    return events.Requeued(attempt=attempt, cause=cause, not_before=not_before, failure=failure(kind) if kind else None)


def running(policy: Policy, *earlier: Fact) -> Given:
    """In the attempt that follows `earlier` ones, which ended as these facts say."""
    lived: list[Fact] = [queued(policy)]
    for number, end in enumerate(earlier, 1):
        lived += [dispatched(number), started(number), end]
    following = len(earlier) + 1
    return given(*lived, dispatched(following), started(following, timeout_at=NOW_MS))


def test_each_retry_waits_longer_up_to_the_longest() -> None:
    waits = []
    for retry in range(4):
        earlier = [requeued(number, "failed", kind="user") for number in range(1, retry + 1)]
        policy = QUOTA.model_copy(update={"retries": 9})
        (fact,) = running(policy, *earlier).when(failed(retry + 1)).then_types(events.Requeued)
        assert isinstance(fact, events.Requeued)
        waits.append((fact.not_before or 0) - NOW_MS)
    assert waits == [1_000, 3_000, 5_000, 5_000]


def test_a_retry_remembers_the_failure_that_it_is_for() -> None:
    running(QUOTA).when(failed()).then(requeued(1, "failed", NOW_MS + 1_000, kind="user"))


@pytest.mark.parametrize(
    ("cause", "kind", "quota"),
    [("failed", "user", 2), ("infrastructure", "not_offered", 1), ("timeout", None, 1), ("lost", None, 1)],
)
def test_each_kind_of_failure_has_its_own_quota(cause: str, kind: str | None, quota: int) -> None:
    earlier = [requeued(number, cause, kind=kind) for number in range(1, quota + 1)]
    others = [requeued(quota + number, other) for number, other in enumerate(["released"] * 5, 1)]
    last = quota + len(others) + 1
    message = failed(last, kind) if kind else expire(cause, last)
    running(QUOTA, *earlier, *others).when(message).then_types(events.Failed)
    fewer = running(QUOTA, *earlier[1:], *[requeued(number, "released") for number in range(quota, last)])
    fewer.when(message).then_types(events.Requeued)


def test_what_is_lost_is_tried_again_at_once() -> None:
    running(QUOTA).when(expire("lost")).then(requeued(1, "lost"))


def test_by_default_only_what_is_not_the_fault_of_the_code_is_tried_again() -> None:
    policy = Policy(timeout_ms=10_000)
    running(policy).when(failed()).then_types(events.Failed)
    running(policy).when(expire("timeout")).then_types(events.Failed)
    running(policy).when(expire("lost")).then_types(events.Requeued)
    running(policy).when(failed(kind="infrastructure")).then_types(events.Requeued)


def test_code_that_says_that_trying_again_is_of_no_use_is_not_tried_again() -> None:
    final = Failure(kind="user", message="NoRetry: no such pump", final=True)
    running(QUOTA).when(ReportFailed(**said(), failure=final)).then(events.Failed(attempt=1, failure=final))


def test_jitter_takes_off_up_to_its_share_and_is_the_same_each_time() -> None:
    backoff = Backoff(first_ms=1_000, jitter=0.5)
    drawn = [backoff_ms(backoff, 0, f"{ID}/{attempt}") for attempt in range(200)]
    assert drawn == [backoff_ms(backoff, 0, f"{ID}/{attempt}") for attempt in range(200)]
    assert 500 <= min(drawn) < 550
    assert 950 < max(drawn) <= 1_000


# --- at most once -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", [failed(), failed(kind="infrastructure"), expire("lost"), expire("timeout")])
def test_code_that_may_have_run_is_never_run_again_under_at_most_once(message: ReportFailed | ExpireAttempt) -> None:
    running(ONCE).when(message).then_types(events.Failed)


def test_a_failure_reported_before_its_start_counts_as_run() -> None:
    given(queued(ONCE), dispatched()).when(failed()).then_types(events.Started, events.Failed)


@pytest.mark.parametrize("message", [expire("lost"), ReportReleased(**said())])
def test_what_never_started_is_dispatched_again_under_at_most_once(message: ExpireAttempt | ReportReleased) -> None:
    given(queued(ONCE), dispatched()).when(message).then_types(events.Requeued)


# --- deadlines --------------------------------------------------------------------------------------------------


def test_an_attempt_may_not_be_dispatched_before_its_time() -> None:
    waiting = given(queued(QUOTA), dispatched(), started(), requeued(1, "failed", NOW_MS + 1_000))
    again = Dispatch(**_ASK, claim=CLAIM, attempt=2, runner=RUNNER)
    waiting.at(NOW_MS + 999).when(again).then_refused("illegal_state")
    waiting.at(NOW_MS + 1_000).when(again).then_types(events.Dispatched)


def test_the_timeout_counts_from_the_dispatch_and_anew_from_the_start() -> None:
    dispatch = Dispatch(**_ASK, claim=CLAIM, attempt=1, runner=RUNNER)
    given(queued(QUOTA)).when(dispatch).then(dispatched(timeout_at=NOW_MS + 10_000))
    on_its_way = given(queued(QUOTA), dispatched(timeout_at=NOW_MS + 10_000))
    start = ReportStarted(**said())
    on_its_way.at(NOW_MS + 500).when(start).then(started(ordinal=9, timeout_at=NOW_MS + 10_500))


def test_a_timeout_is_not_before_its_time() -> None:
    attempt = given(queued(QUOTA), dispatched(), started(timeout_at=NOW_MS + 10_000))
    attempt.at(NOW_MS + 9_999).when(expire("timeout")).then_refused("illegal_state")
    (fact,) = attempt.at(NOW_MS + 10_000).when(expire("timeout")).then_types(events.Requeued)
    assert isinstance(fact, events.Requeued)
    told = Failure(kind="timeout", message="attempt 1 did not end within 10 s")
    assert (fact.cause, fact.not_before, fact.failure) == ("timeout", NOW_MS + 11_000, told)


def test_a_runner_that_never_starts_what_it_was_given_times_out_too() -> None:
    given(queued(QUOTA), dispatched(timeout_at=NOW_MS)).when(expire("timeout")).then_types(events.Requeued)


def test_a_completion_that_is_read_before_the_timeout_wins() -> None:
    done = ReportCompleted(**said(), outputs=json_payload({}))
    given(queued(QUOTA), dispatched(), started(timeout_at=NOW_MS)).when(done).then_types(events.Completed)


def test_without_deadlines_nothing_expires() -> None:
    given(queued(), dispatched(), started()).when(expire("timeout")).then_refused("illegal_state")
    given(queued()).when(ExpireQueued(**_ASK, claim=CLAIM)).then_refused("illegal_state")


def test_time_in_the_queue_counts_from_the_submit_and_anew_from_the_end_of_a_backoff() -> None:
    policy = Policy(queue_ttl_ms=2_000, retries=1, backoff=STEADY)
    expired = ExpireQueued(**_ASK, claim=CLAIM)
    waiting = given(queued(policy))
    waiting.at(NOW_MS + 1_999).when(expired).then_refused("illegal_state")
    told = Failure(kind="expired", message="it waited for a runner for more than 2 s")
    waiting.at(NOW_MS + 2_000).when(expired).then(events.Failed(failure=told))
    (again,) = running(policy).when(failed()).then_types(events.Requeued)
    assert isinstance(again, events.Requeued)
    assert again.expires_at == NOW_MS + 3_000
    given(queued(policy), dispatched(), started(), again).at(NOW_MS + 2_999).when(expired).then_refused("illegal_state")


@pytest.mark.parametrize("command", [RequestAbort(**_ASK), ForceAbort(**_ASK)])
def test_an_abort_between_two_attempts_ends_it_at_once(command: RequestAbort | ForceAbort) -> None:
    ran = [queued(QUOTA), dispatched(), started(), requeued(1, "failed", NOW_MS + 1_000)]
    never_ran = [queued(QUOTA), dispatched(), requeued(1, "lost")]
    for facts, outcome in ((ran, "not_running"), (never_ran, "never_started")):
        decision = given(*facts).when(command).decision
        assert isinstance(decision, list)
        assert decision[-1] == events.Aborted(outcome=outcome)


def test_events_from_before_there_were_deadlines_read_as_they_were() -> None:
    old = queued()
    raw = encode_event(make_event(old, **_ENVELOPE))
    assert b"expires_at" not in raw
    assert b"backoff" not in raw
    assert decode_event(raw).data == old


_ENVELOPE = {
    "id": "1-1",
    "source": "/execution-ledger/x/1",
    "subject": ID,
    "time": NOW_MS,
    "recordedtime": NOW_MS,
    "shard": 1,
    "sequence": 1,
    "ownerepoch": 1,
    "cmdoffset": 0,
    "repoffset": 0,
}
