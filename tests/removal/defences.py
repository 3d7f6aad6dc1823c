"""The defences: what keeps the promises when things go wrong, each with what takes it out.

A defence is taken out from outside, by replacing what does it; the product has no switches for that. `Simulated`: the
simulator and its checks see that it is gone. `Tested`: what it keeps from happening takes more chance than a search
has, so a test of its own shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

from removal import of_jobs as jobs
from removal import of_the_dispatcher as dispatcher
from removal import of_the_ledger as ledger
from removal import of_the_log as log
from removal import of_the_runner as runner
from removal import of_the_views as views
from unit import (
    test_dispatcher_failover,
    test_dispatcher_repair,
    test_execution,
    test_gateway_jobs,
    test_holding,
    test_ledger_service,
    test_runner_attempts,
    test_runner_service,
)


@dataclass(frozen=True)
class Defence:
    name: str
    protects: str
    without: Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True)
class Simulated(Defence):
    """`breaks`: the promises of which one at least no longer holds. `against`: the kinds of fault it stands against."""

    breaks: Set[int]
    against: str


@dataclass(frozen=True)
class Tested(Defence):
    test: Callable[[], Coroutine[Any, Any, None] | None]


DEFENCES: list[Simulated | Tested] = [
    Simulated(
        "takeover order",
        "fence first, read after: a last commit of the writer before is never missed",
        log.takeover_order,
        {1, 2},
        "kill pause cut slow lose_answer prepared clock",
    ),
    Simulated(
        "fenced producer",
        "who was taken over writes nothing any more",
        log.fenced_producer,
        {1, 2},
        "kill pause cut slow lose_answer",
    ),
    Simulated(
        "gather before commit",
        "no transaction is committed of which a part failed",
        log.gather_before_commit,
        {1},
        "part_fails",
    ),
    Simulated(
        "destroy on unknown outcome",
        "what may have been written is never written again",
        log.destroy_on_unknown_outcome,
        {1},
        "lose_answer prepared late_request lose_request",
    ),
    Simulated(
        "log append time",
        "one clock for all, the brokers': no sender's clock moves the ledger's time",
        log.log_append_time,
        {6},
        "clock kill pause",
    ),
    Simulated(
        "overlay until commit",
        "what was decided holds only when its commit has returned",
        ledger.overlay_until_commit,
        {1},
        "lose_answer lose_request part_fails late_request",
    ),
    Tested(
        "release when fenced",
        "two ledgers do not fence each other for ever",
        ledger.release_when_fenced,
        test_ledger_service.test_a_fenced_ledger_lets_the_shard_go_and_comes_back_only_while_placement_names_it,
    ),
    Simulated(
        "dedupe by command id",
        "a command that comes again is decided once",
        ledger.dedupe_by_command_id,
        {4},
        "double lose_answer late_request",
    ),
    Simulated(
        "stale attempt refusal",
        "a report of an attempt that is over changes nothing",
        ledger.stale_attempt_refusal,
        {3, 6},
        "late_request double pause kill cut lose_answer slow",
    ),
    Simulated(
        "stale ordinal refusal",
        "a report that comes again changes nothing",
        ledger.stale_ordinal_refusal,
        {6},
        "double late_request lose_answer",
    ),
    Tested(
        "next attempt only",
        "a Dispatch that comes late begins no attempt for a second time",
        ledger.next_attempt_only,
        partial(test_execution.test_only_the_next_attempt_can_be_dispatched, 1),
    ),
    Simulated(
        "backoff enforced",
        "no retry before its time, whatever the dispatcher's ticks said",
        ledger.backoff_enforced,
        {3},
        "clock away leader late_request lose_answer",
    ),
    Simulated(
        "deadlines enforced",
        "nothing times out, and no grace ends, before its time",
        ledger.deadlines_enforced,
        {3},
        "clock pause late_request away",
    ),
    Tested(
        "stale claim refusal",
        "a dispatcher that was followed by another has no say",
        ledger.stale_claim_refusal,
        partial(test_execution.test_a_dispatcher_whose_claim_is_not_the_newest_is_refused, 1),
    ),
    Simulated(
        "claims only grow",
        "a claim that comes late makes no old dispatcher the newest",
        ledger.claims_only_grow,
        {6},
        "kill pause late_request slow double lose_answer",
    ),
    Simulated(
        "ordinal per source",
        "an execution of a batch comes once, even when its command was forgotten",
        ledger.ordinal_per_source,
        {3},
        "double late_request",
    ),
    Tested(
        "claim on every shard",
        "a dispatcher acts only when it has read all that those before it brought about",
        dispatcher.claim_on_every_shard,
        test_dispatcher_failover.test_with_nobody_active_it_claims_with_its_first_tick_and_acts_when_all_shards_have_recorded_it,
    ),
    Simulated(
        "gap starts anew",
        "ticks with a gap between them prove nobody's silence",
        dispatcher.gap_starts_anew,
        {10},
        "clock slow away stall pause cut",
    ),
    Simulated(
        "expiry after own tick",
        "heartbeats that were not read yet do not count as silence",
        dispatcher.expiry_after_own_tick,
        {10},
        "stall away slow clock",
    ),
    Simulated(
        "slot held while listed",
        "the place of code that may still run is not given away",
        dispatcher.slot_held_while_listed,
        {6},
        "pause cut stall kill away slow clock",
    ),
    Simulated(
        "start after dispatched",
        "no code begins of which the log says nothing",
        dispatcher.start_after_dispatched,
        {6},
        "late_request leader lose_request slow kill",
    ),
    Tested(
        "known before lost",
        "who has not read its start has not lost it",
        dispatcher.known_before_lost,
        test_dispatcher_repair.test_started_and_unlisted_is_lost_once_the_runner_had_read_the_start,
    ),
    Tested(
        "not sent again while under way",
        "inboxes do not fill with what is on its way already",
        dispatcher.not_sent_again_while_under_way,
        test_dispatcher_repair.test_a_start_is_sent_again_only_when_the_runner_has_read_past_it_and_lists_nothing,
    ),
    Tested(
        "lower claim dropped",
        "a runner does not obey a dispatcher that was followed by another",
        runner.lower_claim_dropped,
        test_runner_attempts.test_a_message_of_an_older_claim_is_dropped,
    ),
    Simulated(
        "confirmed under at_most_once",
        "code that may run once begins only when the log says that it was begun",
        runner.confirmed_under_at_most_once,
        {6},
        "lose_request late_request cut kill leader pause",
    ),
    Simulated(
        "self-fencing runner",
        "code stops before others may run it again",
        runner.self_fencing,
        {6},
        "cut away leader lose_request",
    ),
    Tested(
        "starts before revival void",
        "a start from before a silence, which may run elsewhere by now, begins nothing",
        runner.starts_before_revival_void,
        test_runner_service.test_starts_from_before_a_runner_was_revived_are_void,
    ),
    Simulated(
        "closed remembered",
        "a copy of a start that comes after the end begins nothing",
        runner.closed_remembered,
        {6},
        "double late_request",
    ),
    Simulated(
        "repeated start resends",
        "a start that comes again begins nothing anew",
        runner.repeated_start_resends,
        {6},
        "double late_request lose_answer",
    ),
    Simulated(
        "position compare-and-set",
        "of two projectors only one moves the views on",
        views.position_compare_and_set,
        {7, 8},
        "store_cut store_back store_slow kill pause",
    ),
    Simulated(
        "idle look at position",
        "views that a failover set back catch up without a new event",
        views.idle_look_at_position,
        {7, 8, 9},
        "store_back store_cut",
    ),
    Simulated(
        "batch opened first",
        "a batch that is repeated is the same batch",
        views.batch_opened_first,
        {4},
        "kill leader lose_request",
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
]
SIMULATED = {defence.name: defence for defence in DEFENCES if isinstance(defence, Simulated)}
TESTED = {defence.name: defence for defence in DEFENCES if isinstance(defence, Tested)}
