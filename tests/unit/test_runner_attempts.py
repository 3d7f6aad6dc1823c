"""What a runner does about each message, in each phase of a token."""

from __future__ import annotations

import pytest

from execution_ledger.messages.inbox import Abort, Closed, Confirmed, Start, Token
from execution_ledger.messages.parts import Failure
from execution_ledger.messages.payload import json_payload
from execution_ledger.messages.reports import (
    AnyReport,
    ReportAborted,
    ReportCompleted,
    ReportFailed,
    ReportReleased,
    ReportStarted,
    ReportWarning,
    Said,
)
from execution_ledger.messages.steps import CodeOrigin
from execution_ledger.runner import attempts as module
from execution_ledger.runner.attempts import Action, Attempts, Enter, Send, Stop
from execution_ledger.runner.last_reports import LastReports
from execution_ledger.runner.outcomes import Completed, Failed, Outcome, Stopped
from unit.runner_stage import a_start, a_token

NOW = 1_700_000_000_000
HELD_MAX = 100
HM = Said(ReportWarning, {"message": "hm"})
DONE = Completed(json_payload({"n": 1}))


def an_abort(token: Token, claim: int = 1) -> Abort:
    return Abort(runner="r", claim=claim, token=token, reason="enough")


def closed(*tokens: Token) -> Closed:
    return Closed(runner="r", claim=1, tokens=list(tokens))


def sent(actions: list[Action]) -> list[AnyReport]:
    return [action.report for action in actions if isinstance(action, Send)]


def entered(actions: list[Action]) -> list[Token]:
    return [action.start.token for action in actions if isinstance(action, Enter)]


def phases(attempts: Attempts) -> dict[Token, str]:
    return {Token(execution_id=t.execution_id, attempt=t.attempt): t.phase for t in attempts.tokens()}


def running(slots: int = 10, held_max: int = HELD_MAX) -> tuple[Attempts, Token]:
    attempts, token = Attempts("r", slots, held_max), a_token()
    attempts.receive(a_start(token), NOW)
    return attempts, token


def test_a_start_reports_and_enters_at_once() -> None:
    attempts, token = Attempts("r", 10, HELD_MAX), a_token()
    started, enter = attempts.receive(a_start(token), NOW)
    assert isinstance(started, Send)
    assert isinstance(started.report, ReportStarted)
    assert isinstance(enter, Enter)
    assert phases(attempts) == {token: "running"}


def test_a_start_says_where_the_code_of_its_version_comes_from() -> None:
    origin = CodeOrigin(kind="git_repository", commit="5f2d")
    attempts, start = Attempts("r", 10, HELD_MAX, {"d": origin}), a_start(a_token())
    other = a_start(a_token()).model_copy(update={"pipeline": start.pipeline.model_copy(update={"digest": "d2"})})
    reports = [report for each in (start, other) for report in sent(attempts.receive(each, NOW))]
    assert [report.origin for report in reports if isinstance(report, ReportStarted)] == [origin, None]


def test_ordinals_grow_from_one_within_a_token() -> None:
    attempts, token = Attempts("r", 10, HELD_MAX), a_token()
    reports = sent(attempts.receive(a_start(token), NOW))
    reports += sent(attempts.recorded(token, HM, NOW))
    reports += sent(attempts.stopped(token, DONE, NOW))
    assert [type(report) for report in reports] == [ReportStarted, ReportWarning, ReportCompleted]
    assert [report.ordinal for report in reports] == [1, 2, 3]


def test_a_repeated_start_only_makes_it_say_again_what_it_said_last() -> None:
    attempts, token = running()
    assert [type(report) for report in sent(attempts.receive(a_start(token), NOW))] == [ReportStarted]
    (ended,) = sent(attempts.stopped(token, DONE, NOW))
    assert attempts.receive(a_start(token), NOW + 5) == [Send(ended)]


def test_the_next_attempt_of_an_execution_is_another_token() -> None:
    attempts, token = running()
    again = Token(execution_id=token.execution_id, attempt=2)
    assert entered(attempts.receive(a_start(again), NOW)) == [again]


def test_a_start_waits_for_a_slot_and_enters_when_one_is_free() -> None:
    attempts, first = running(slots=1)
    second = a_token()
    assert attempts.receive(a_start(second), NOW) == []
    assert phases(attempts) == {first: "running", second: "waiting"}
    assert attempts.receive(a_start(second), NOW) == []
    assert entered(attempts.stopped(first, DONE, NOW)) == [second]


def test_an_abort_of_a_token_never_seen_is_answered_and_drops_a_later_start() -> None:
    attempts, token = Attempts("r", 10, HELD_MAX), a_token()
    (answer,) = sent(attempts.receive(an_abort(token), NOW))
    assert isinstance(answer, ReportAborted)
    assert not answer.entered
    assert attempts.receive(a_start(token), NOW) == [Send(answer)]
    assert phases(attempts) == {token: "ended"}


def test_an_abort_of_a_waiting_token_ends_it_without_entering() -> None:
    attempts, first = running(slots=1)
    second = a_token()
    attempts.receive(a_start(second), NOW)
    (answer,) = sent(attempts.receive(an_abort(second), NOW))
    assert isinstance(answer, ReportAborted)
    assert not answer.entered
    assert entered(attempts.stopped(first, DONE, NOW)) == []


def test_an_abort_stops_running_code_once_so_that_a_repeat_does_not_disturb_it() -> None:
    attempts, token = running()
    assert attempts.receive(an_abort(token), NOW) == [Stop(token, "enough")]
    assert attempts.receive(an_abort(token), NOW) == []
    (report,) = sent(attempts.stopped(token, Stopped(), NOW))
    assert isinstance(report, ReportAborted)
    assert report.entered
    assert attempts.receive(an_abort(token), NOW) == [Send(report)]


def test_code_that_ends_in_spite_of_an_abort_is_reported_as_it_ended() -> None:
    attempts, token = running()
    attempts.receive(an_abort(token), NOW)
    (report,) = sent(attempts.stopped(token, DONE, NOW))
    assert isinstance(report, ReportCompleted)


def test_an_execution_may_abort_itself() -> None:
    attempts, token = running()
    (report,) = sent(attempts.stopped(token, Stopped("nothing to do", by_itself=True), NOW))
    assert isinstance(report, ReportAborted)
    assert report.reason == "nothing to do"


def test_closed_forgets_what_has_ended() -> None:
    attempts, token = running()
    attempts.stopped(token, DONE, NOW)
    assert attempts.receive(closed(token), NOW) == []
    assert phases(attempts) == {}


def test_closed_stops_running_code_and_lists_it_until_it_has_stopped() -> None:
    attempts, token = running(slots=1)
    second = a_token()
    assert attempts.receive(closed(token), NOW) == [Stop(token)]
    assert attempts.receive(closed(token), NOW) == []
    attempts.receive(a_start(second), NOW)
    assert attempts.recorded(token, HM, NOW) == []
    assert phases(attempts) == {token: "running", second: "waiting"}
    assert entered(attempts.stopped(token, DONE, NOW)) == [second]
    assert phases(attempts) == {second: "running"}


def test_a_message_of_an_older_claim_is_dropped() -> None:
    attempts, token = Attempts("r", 10, HELD_MAX), a_token()
    attempts.receive(an_abort(a_token(), claim=5), NOW)
    assert attempts.receive(a_start(token, claim=4), NOW) == []
    assert entered(attempts.receive(a_start(token, claim=5), NOW)) == [token]


def test_a_start_that_comes_after_its_closing_is_a_copy_and_is_dropped() -> None:
    attempts, token = running()
    attempts.stopped(token, DONE, NOW)
    attempts.receive(closed(token), NOW)
    assert phases(attempts) == {}
    assert attempts.receive(a_start(token), NOW) == []
    assert phases(attempts) == {}


def test_fencing_stops_the_code_and_reports_nothing_of_it() -> None:
    attempts, token = running(slots=1)
    waiting = a_token()
    attempts.receive(a_start(waiting), NOW)
    assert attempts.fence() == [Stop(token)]
    assert phases(attempts) == {token: "running"}
    assert attempts.stopped(token, DONE, NOW) == []
    assert phases(attempts) == {}


def test_a_fenced_runner_takes_no_start_until_it_is_heard_again() -> None:
    attempts, token = Attempts("r", 10, HELD_MAX), a_token()
    attempts.fence()
    assert attempts.receive(a_start(token), NOW) == []
    assert phases(attempts) == {}
    attempts.unfence()
    assert entered(attempts.receive(a_start(token), NOW)) == [token]


def test_an_attempt_stopped_by_fencing_is_never_entered_again() -> None:
    attempts, token = running()
    attempts.fence()
    attempts.stopped(token, Stopped(), NOW)
    attempts.unfence()
    assert [type(report) for report in sent(attempts.receive(a_start(token), NOW))] == [ReportStarted]
    (answer,) = sent(attempts.receive(an_abort(token), NOW))
    assert isinstance(answer, ReportAborted)
    assert answer.entered


def test_draining_gives_back_what_waits_and_what_still_comes() -> None:
    attempts, first = running(slots=1)
    second, third = a_token(), a_token()
    attempts.receive(a_start(second), NOW)
    (released,) = sent(attempts.drain(NOW))
    assert isinstance(released, ReportReleased)
    assert released.execution_id == second.execution_id
    assert [type(report) for report in sent(attempts.receive(a_start(third), NOW))] == [ReportReleased]
    assert [type(report) for report in sent(attempts.stopped(first, DONE, NOW))] == [ReportCompleted]


def test_draining_gives_back_what_stops_and_what_does_not() -> None:
    attempts, obedient = running()
    deaf = a_token()
    attempts.receive(a_start(deaf), NOW)
    attempts.drain(NOW)
    assert attempts.stop_running() == [Stop(obedient), Stop(deaf)]
    (given_back,) = sent(attempts.stopped(obedient, Stopped(), NOW))
    (abandoned,) = sent(attempts.release_running(NOW))
    assert isinstance(given_back, ReportReleased)
    assert isinstance(abandoned, ReportReleased)
    assert attempts.stopped(deaf, DONE, NOW) == []


@pytest.mark.parametrize(
    ("outcome", "report"),
    [
        (DONE, ReportCompleted),
        (Failed(Failure(kind="user", message="RuntimeError: interrupted")), ReportReleased),
        (Stopped(), ReportReleased),
        (Stopped("told to stop", by_itself=True), ReportReleased),
    ],
)
def test_code_that_a_drain_has_told_to_stop_is_given_back_unless_it_completes(
    outcome: Outcome, report: type[AnyReport]
) -> None:
    attempts, token = running()
    attempts.drain(NOW)
    attempts.stop_running()
    assert [type(one) for one in sent(attempts.stopped(token, outcome, NOW))] == [report]


def test_code_that_fails_by_itself_while_a_drain_lets_it_finish_has_failed() -> None:
    attempts, token = running()
    attempts.drain(NOW)
    failure = Failed(Failure(kind="user", message="ValueError: no"))
    assert [type(one) for one in sent(attempts.stopped(token, failure, NOW))] == [ReportFailed]


def test_an_abort_that_meets_a_drain_is_still_an_abort() -> None:
    attempts, token = running()
    attempts.receive(an_abort(token), NOW)
    attempts.drain(NOW)
    attempts.stop_running()
    assert [type(report) for report in sent(attempts.stopped(token, Stopped(), NOW))] == [ReportAborted]


def test_a_failure_is_reported_with_its_words() -> None:
    attempts, token = running()
    failure = Failure(kind="user", message="ValueError: no")
    (report,) = sent(attempts.stopped(token, Failed(failure), NOW))
    assert isinstance(report, ReportFailed)
    assert report.failure == failure


def test_a_start_beyond_what_a_heartbeat_can_list_is_dropped() -> None:
    attempts, _ = running(held_max=1)
    late = a_token()
    assert attempts.receive(a_start(late), NOW) == []
    assert late not in phases(attempts)


def test_tokens_stopped_by_fencing_are_remembered_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FENCED_MAX", 1)
    attempts, oldest = running()
    newest = a_token()
    attempts.receive(a_start(newest), NOW)
    attempts.fence()
    attempts.stopped(oldest, Stopped(), NOW)
    attempts.stopped(newest, Stopped(), NOW)
    attempts.unfence()
    assert entered(attempts.receive(a_start(newest), NOW)) == []
    assert entered(attempts.receive(a_start(oldest), NOW)) == [oldest]


def test_last_reports_stay_within_their_budget() -> None:
    last = LastReports(bytes_max=2_500)
    tokens = [a_token() for _ in range(3)]
    for token in tokens:
        last.keep(token, ReportStarted(**token.model_dump(), ordinal=1, runner="r", time=NOW))
    assert [len(last.again(token, Send)) for token in tokens] == [0, 1, 1]


# --- at most once -----------------------------------------------------------------------------------------------


def once(token: Token) -> Start:
    return a_start(token, delivery="at_most_once")


def confirmed(token: Token, claim: int = 1) -> Confirmed:
    return Confirmed(runner="r", claim=claim, token=token)


def unconfirmed(slots: int = 10) -> tuple[Attempts, Token]:
    attempts, token = Attempts("r", slots, HELD_MAX), a_token()
    attempts.receive(once(token), NOW)
    return attempts, token


def test_code_that_may_run_at_most_once_is_entered_only_when_its_start_is_confirmed_and_only_once() -> None:
    attempts, token = Attempts("r", 10, HELD_MAX), a_token()
    actions = attempts.receive(once(token), NOW)
    assert [type(report) for report in sent(actions)] == [ReportStarted]
    assert entered(actions) == []
    assert phases(attempts) == {token: "waiting"}
    assert entered(attempts.receive(confirmed(token), NOW)) == [token]
    assert phases(attempts) == {token: "running"}
    assert attempts.receive(confirmed(token), NOW) == []
    attempts.stopped(token, DONE, NOW)
    assert attempts.receive(confirmed(token), NOW) == []


def test_a_repeated_start_is_not_a_confirmation() -> None:
    attempts, token = unconfirmed()
    actions = attempts.receive(once(token), NOW)
    assert [type(report) for report in sent(actions)] == [ReportStarted]
    assert entered(actions) == []


def test_a_confirmation_of_what_is_not_held_or_of_an_older_claim_enters_nothing() -> None:
    attempts, token = unconfirmed()
    assert attempts.receive(confirmed(a_token()), NOW) == []
    attempts.receive(an_abort(a_token(), claim=5), NOW)
    assert attempts.receive(confirmed(token, claim=4), NOW) == []
    assert entered(attempts.receive(confirmed(token, claim=5), NOW)) == [token]


def test_what_waits_for_its_confirmation_has_a_slot() -> None:
    attempts, first = unconfirmed(slots=1)
    second = a_token()
    assert attempts.receive(a_start(second), NOW) == []
    assert entered(attempts.receive(closed(first), NOW)) == [second]


def test_an_abort_before_the_confirmation_ends_it_and_gives_its_slot_away() -> None:
    attempts, first = unconfirmed(slots=1)
    second = a_token()
    attempts.receive(a_start(second), NOW)
    actions = attempts.receive(an_abort(first), NOW)
    (answer, _) = sent(actions)
    assert isinstance(answer, ReportAborted)
    assert not answer.entered
    assert entered(actions) == [second]
    assert attempts.receive(confirmed(first), NOW) == []


def test_fencing_forgets_what_waits_for_its_confirmation() -> None:
    attempts, token = unconfirmed()
    assert attempts.fence() == []
    assert phases(attempts) == {}
    attempts.unfence()
    assert attempts.receive(confirmed(token), NOW) == []


def test_draining_gives_back_what_waits_for_its_confirmation() -> None:
    attempts, token = unconfirmed()
    assert [type(report) for report in sent(attempts.drain(NOW))] == [ReportReleased]
    assert attempts.receive(confirmed(token), NOW) == []
