"""Defences of which a test of their own shows that they are needed: see `Tested`."""

from __future__ import annotations

from contract.events_builder import BEGIN_MS
from execution_ledger.log.memory import MemoryLog
from removal import of_jobs as jobs
from removal import of_the_ledger as ledger
from removal import of_the_snapshots as snapshots
from removal import of_the_views as views
from removal.defence import Tested
from unit import (
    test_business,
    test_deciding,
    test_gateway_following,
    test_gateway_jobs,
    test_holding,
    test_ledger_service,
    test_projector_service,
    test_snapshots_keeping,
)

SHOWN_BY_TESTS = [
    Tested(
        "event at the stored position",
        "views never go on with another log than the one that they were made from",
        views.event_at_the_position,
        lambda: test_projector_service.test_views_of_another_log_stop_their_shard_and_no_other(
            MemoryLog(3, now_ms=lambda: BEGIN_MS), test_projector_service.WatchedStore(), "another event there"
        ),
    ),
    Tested(
        "no event missed by the gateway",
        "sequences are dense: a gateway that was not given an event ends, so nobody's stream lacks one",
        views.no_event_missed_by_the_gateway,
        test_gateway_following.test_a_gap_in_a_shard_stops_the_tail,
    ),
    Tested(
        "held is not dispatched",
        "what somebody holds back does not begin, even where its Dispatch was under way",
        jobs.held_is_not_dispatched,
        test_holding.test_a_ledger_dispatches_nothing_that_is_held,
    ),
    Tested(
        "job commands by target",
        "two gateways at one job, or one that does it again, ask each execution once",
        jobs.job_commands_by_target,
        test_gateway_jobs.each_target_is_asked_once,
    ),
    Tested(
        "one of a business id",
        "of two executions with the same business id only one runs, whatever a dispatcher asks for",
        jobs.one_of_a_business_id,
        test_business.a_ledger_dispatches_one_at_a_time,
    ),
    Tested(
        "reports of its runner",
        "who was not sent an attempt changes nothing of it, whatever he may write",
        ledger.reports_of_its_runner,
        test_deciding.test_a_report_of_another_runner_leaves_no_event,
    ),
    Tested(
        "ids have their time",
        "what opened a batch or a job and comes again when it was forgotten opens nothing",
        ledger.ids_have_their_time,
        test_deciding.test_what_opens_a_batch_or_a_job_and_comes_again_when_it_was_forgotten_opens_nothing,
    ),
    Tested(
        "refused children remembered",
        "a child of a batch that was refused does not come when the batch is repeated later",
        ledger.refused_children_remembered,
        test_business.test_a_refused_child_stays_refused_for_as_long_as_its_batch_is_known,
    ),
    Tested(
        "doubt after a silence",
        "a ledger that was not heard for a while finds out which of its idle shards another one has taken",
        ledger.doubt_after_a_silence,
        test_ledger_service.test_an_idle_shard_that_was_taken_in_a_silence_is_not_called_ready_and_is_taken_back,
    ),
    Tested(
        "marks of a snapshot in the log",
        "one of events that the log does not hold is believed by nobody",
        snapshots.marks_in_the_log,
        test_snapshots_keeping.test_one_of_an_event_that_the_log_no_longer_holds_is_passed_over,
    ),
]
