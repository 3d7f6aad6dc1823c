"""What the table's words leave open: outcomes, policies, stale reports and claims."""

from __future__ import annotations

import pytest

from execution_ledger.messages import events
from execution_ledger.messages.commands import Dispatch, ExpireAttempt, RequestAbort
from execution_ledger.messages.parts import Backoff, Policy
from execution_ledger.messages.payload import json_payload
from execution_ledger.messages.reports import (
    ReportAborted,
    ReportCompleted,
    ReportFailed,
    ReportReleased,
    ReportStarted,
    ReportWarning,
)
from execution_ledger.messages.steps import CodeOrigin
from unit.spec import (
    CLAIM,
    ID,
    NOW_MS,
    RUNNER,
    abort_requested,
    completed,
    dispatched,
    failure,
    given,
    queued,
    started,
    submit,
)

_ASK = {"command_id": "c-1", "actor": "ada", "execution_id": ID}
_SAY = {"execution_id": ID, "attempt": 1, "ordinal": 9, "runner": RUNNER, "time": NOW_MS}
LOST = ExpireAttempt(**_ASK, claim=CLAIM, attempt=1, cause="lost")
LOST_AGAIN = ExpireAttempt(**_ASK, claim=CLAIM, attempt=2, cause="lost")
GRACE_OVER = ExpireAttempt(**_ASK, claim=CLAIM, attempt=1, cause="abort_grace")
ONCE = Policy(delivery="at_most_once")


def test_a_submit_is_queued_under_its_number_and_name() -> None:
    (fact,) = given().when(submit()).then_types(events.Queued)
    assert isinstance(fact, events.Queued)
    assert (fact.number, fact.name) == (4097, "train-401")


def test_an_abort_before_dispatch_never_started() -> None:
    given(queued()).when(RequestAbort(**_ASK)).then(events.AbortRequested(), events.Aborted(outcome="never_started"))


def test_an_abort_of_running_code_gives_it_the_grace_of_its_policy() -> None:
    given(queued(Policy(abort_grace_ms=500)), dispatched(), started()).when(RequestAbort(**_ASK)).then(
        events.AbortRequested(attempt=1, grace_until=NOW_MS + 500)
    )


def test_the_runner_acknowledges_an_abort() -> None:
    given(queued(), dispatched(), started(), abort_requested()).when(ReportAborted(**_SAY, entered=True)).then(
        events.Aborted(attempt=1, outcome="acknowledged")
    )


def test_an_abort_that_reached_the_runner_before_the_start_never_started() -> None:
    given(queued(), dispatched(), abort_requested()).when(ReportAborted(**_SAY, entered=False)).then(
        events.Aborted(attempt=1, outcome="never_started")
    )


def test_a_pipeline_may_abort_itself() -> None:
    given(queued(), dispatched(), started()).when(ReportAborted(**_SAY, entered=True)).then(
        events.Aborted(attempt=1, outcome="self")
    )


def test_completing_beats_an_abort_that_came_too_late() -> None:
    outputs = json_payload({"n": 2})
    given(queued(), dispatched(), started(), abort_requested()).when(ReportCompleted(**_SAY, outputs=outputs)).then(
        events.Completed(attempt=1, outputs=outputs, abort="too_late")
    )


def test_a_failure_after_an_abort_request_is_never_retried() -> None:
    facts = [queued(Policy(retries=5)), dispatched(), started(), abort_requested()]
    given(*facts).when(ReportFailed(**_SAY, failure=failure())).then(
        events.Failed(attempt=1, failure=failure(), abort="too_late")
    )


def test_a_failure_is_queued_again_while_its_policy_has_retries() -> None:
    first = [queued(Policy(retries=1, backoff=Backoff(first_ms=0))), dispatched(), started()]
    retried = events.Requeued(attempt=1, cause="failed", failure=failure())
    given(*first).when(ReportFailed(**_SAY, failure=failure())).then(retried)
    second = ReportFailed(**{**_SAY, "attempt": 2}, failure=failure())
    given(*first, retried, dispatched(2), started(2)).when(second).then(events.Failed(attempt=2, failure=failure()))


def test_the_grace_must_be_over_before_an_abort_is_forced() -> None:
    aborting = given(queued(), dispatched(), started(), abort_requested())
    aborting.at(NOW_MS + 9_999).when(GRACE_OVER).then_refused("illegal_state")
    aborting.at(NOW_MS + 10_000).when(GRACE_OVER).then(events.Aborted(attempt=1, outcome="forced"))


def test_losing_the_runner_of_an_aborting_execution_ends_it() -> None:
    given(queued(), dispatched(), started(), abort_requested()).when(LOST).then(
        events.Aborted(attempt=1, outcome="lost")
    )


def test_an_attempt_may_be_lost_as_often_as_the_policy_says() -> None:
    once = [queued(Policy(losses_max=1)), dispatched(), started()]
    again = events.Requeued(attempt=1, cause="lost")
    given(*once).when(LOST).then(again)
    [failed] = given(*once, again, dispatched(2), started(2)).when(LOST_AGAIN).then_types(events.Failed)
    assert isinstance(failed, events.Failed)
    assert failed.failure.kind == "lost"
    assert "lost in attempt 2" in failed.failure.message


def test_code_that_may_run_at_most_once_is_not_run_again() -> None:
    given(queued(ONCE), dispatched(), started()).when(LOST).then_types(events.Failed)
    given(queued(ONCE), dispatched(), started()).when(ReportReleased(**_SAY)).then_types(events.Failed)
    given(queued(ONCE), dispatched()).when(LOST).then_types(events.Requeued)


@pytest.mark.parametrize("attempt", [1, 3])
def test_only_the_next_attempt_can_be_dispatched(attempt: int) -> None:
    command = Dispatch(**_ASK, claim=CLAIM, attempt=attempt, runner=RUNNER)
    again = events.Requeued(attempt=1, cause="lost")
    given(queued(), dispatched(), again).when(command).then_refused("illegal_state")


@pytest.mark.parametrize("claim", [CLAIM - 1, CLAIM + 1])
def test_a_dispatcher_whose_claim_is_not_the_newest_is_refused(claim: int) -> None:
    given(queued()).when(Dispatch(**_ASK, claim=claim, attempt=1, runner=RUNNER)).then_refused("stale_claim")
    expire = ExpireAttempt(**_ASK, claim=claim, attempt=1, cause="lost")
    given(queued(), dispatched()).when(expire).then_refused("stale_claim")


def test_a_report_of_an_old_attempt_changes_nothing() -> None:
    again = events.Requeued(attempt=1, cause="lost")
    second = given(queued(), dispatched(), started(), again, dispatched(2), started(2))
    second.when(ReportCompleted(**_SAY, outputs=json_payload({}))).then_nothing()


def test_a_repeated_report_changes_nothing() -> None:
    warned = events.Warned(attempt=1, ordinal=2, message="hm")
    running = given(queued(), dispatched(), started(ordinal=1), warned)
    running.when(ReportWarning(**{**_SAY, "ordinal": 2}, message="hm")).then_nothing()
    running.when(ReportWarning(**{**_SAY, "ordinal": 3}, message="oh")).then_types(events.Warned)


def test_a_start_reported_after_the_abort_request_is_recorded_once() -> None:
    stopping = [queued(), dispatched(), abort_requested()]
    given(*stopping).when(ReportStarted(**_SAY)).then_types(events.Started)
    given(*stopping, started(ordinal=1)).when(ReportStarted(**_SAY)).then_nothing()
    given(*stopping, started(ordinal=1)).when(ReportAborted(**_SAY, entered=True)).then(
        events.Aborted(attempt=1, outcome="acknowledged")
    )


def test_a_start_keeps_where_its_code_came_from() -> None:
    origin = CodeOrigin(kind="git_repository", commit="5f2d")
    for before in ([queued(), dispatched()], [queued(), dispatched(), abort_requested()]):
        (fact,) = given(*before).when(ReportStarted(**_SAY, origin=origin)).then_types(events.Started)
        assert isinstance(fact, events.Started)
        assert fact.origin == origin


def test_a_history_begins_with_queued() -> None:
    with pytest.raises(ValueError, match=r"never queued"):
        given(completed())


@pytest.mark.parametrize("before", [(), (started(),), (started(), abort_requested())], ids=len)
def test_a_report_of_a_runner_to_which_it_was_not_sent_changes_nothing(before: tuple[events.Fact, ...]) -> None:
    report = ReportCompleted(
        execution_id=ID, attempt=1, ordinal=9, runner="another", time=NOW_MS, outputs=json_payload({})
    )
    given(queued(), dispatched(), *before).when(report).then_nothing()
    assert given(queued(), dispatched(), *before).when(report.model_copy(update={"runner": RUNNER})).decision
