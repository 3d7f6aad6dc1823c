"""The defences: what keeps the promises when things go wrong, each with what takes it out.

A defence is taken out from outside, by replacing what does it; the product has no switches for that.
"""

from __future__ import annotations

from removal import of_jobs as jobs
from removal import of_the_dispatcher as dispatcher
from removal import of_the_ledger as ledger
from removal import of_the_log as log
from removal import of_the_runner as runner
from removal import of_the_snapshots as snapshots
from removal import of_the_views as views
from removal.defence import Defence, Simulated
from removal.shown_by_tests import SHOWN_BY_TESTS

SHOWN_BY_THE_SIMULATOR = [
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
        "end sent once",
        "a transaction is ended by one request, so that no copy of it ends a later one",
        log.end_sent_once,
        {9},
        "late_request lose_answer",
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
    Simulated(
        "release when fenced",
        "two ledgers do not fence each other for ever",
        ledger.release_when_fenced,
        {9},
        "miss kill",
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
    Simulated(
        "next attempt only",
        "a Dispatch that comes late begins no attempt for a second time",
        ledger.next_attempt_only,
        {6},
        "late_request lose_answer",
    ),
    Simulated(
        "backoff enforced",
        "no retry before its time, whatever the dispatcher's ticks said",
        ledger.backoff_enforced,
        {3},
        "clock away leader late_request lose_answer",
    ),
    Simulated(
        "timeouts enforced",
        "nothing times out before its time",
        ledger.timeouts_enforced,
        {3},
        "clock pause late_request away",
    ),
    Simulated(
        "graces enforced",
        "nothing is ended by force before the grace of its abort is over",
        ledger.graces_enforced,
        {3},
        "clock pause late_request away",
    ),
    Simulated(
        "queue time enforced",
        "nothing expires in the queue before its time",
        ledger.queue_time_enforced,
        {3},
        "clock pause late_request away",
    ),
    Simulated(
        "stale claim refusal",
        "a dispatcher that was followed by another has no say",
        ledger.stale_claim_refusal,
        {6},
        "late_request drain kill lose_answer",
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
    Simulated(
        "claim on every shard",
        "a dispatcher acts only when it has read all that those before it brought about",
        dispatcher.claim_on_every_shard,
        {6},
        "miss drain kill",
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
        "unknown keeps its place",
        "the place of an attempt that may yet be dispatched is not given away",
        dispatcher.unknown_keeps_its_place,
        {6},
        "late_request lose_request",
    ),
    Simulated(
        "missed deadlines named again",
        "what was asked for in vain, when a deadline was missed, is asked for again",
        dispatcher.missed_named_again,
        {9},
        "lose_request late_request",
    ),
    Simulated(
        "no event missed by the dispatcher",
        "sequences are dense: a dispatcher that was not given an event ends, and reads all anew",
        dispatcher.no_event_missed,
        {6, 9},
        "skips",
    ),
    Simulated(
        "inputs by their offset",
        "code that was sent with inputs read again gets those of its own execution",
        dispatcher.fetched_as_asked_for,
        {6, 9},
        "skips",
    ),
    Simulated(
        "held places in snapshots",
        "a dispatcher that begins with a snapshot gives away no place of code that may still run",
        dispatcher.held_places_kept,
        {6},
        "kill drain pause",
    ),
    Simulated(
        "start after dispatched",
        "no code begins of which the log says nothing",
        dispatcher.start_after_dispatched,
        {6},
        "late_request leader lose_request slow kill",
    ),
    Simulated(
        "known before lost",
        "who has not read its start has not lost it",
        dispatcher.known_before_lost,
        {10},
        "double late_request",
    ),
    Simulated(
        "not sent again while under way",
        "inboxes do not fill with what is on its way already",
        dispatcher.not_sent_again_while_under_way,
        {9},
        "miss stall",
    ),
    Simulated(
        "lower claim dropped",
        "a runner does not obey a dispatcher that was followed by another",
        runner.lower_claim_dropped,
        {6},
        "late_request drain kill",
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
    Simulated(
        "starts before revival void",
        "a start from before a silence, which may run elsewhere by now, begins nothing",
        runner.starts_before_revival_void,
        {6},
        "miss cut",
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
        "newest checkpoint first",
        "what an attempt said last is reported before its end, for the next one",
        runner.newest_checkpoint_first,
        {6},
        "kill",
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
        "no event missed by the projector",
        "sequences are dense: a projector that was not given an event halts its shard",
        views.no_event_missed,
        {7, 8, 9},
        "skips",
    ),
    Simulated(
        "batch opened first",
        "a batch that is repeated is the same batch",
        views.batch_opened_first,
        {4},
        "kill leader lose_request",
    ),
    Simulated(
        "whole before its retry",
        "a batch is retried once none of its executions can still come to be: so a repeat of that finds the same ones",
        jobs.whole_before_its_retry,
        {4},
        "leader away lose_request",
    ),
    Simulated(
        "digest of a snapshot",
        "one that was damaged is believed by nobody",
        snapshots.digest_of_a_snapshot,
        {7},
        "objects_damaged",
    ),
]
DEFENCES: list[Defence] = [*SHOWN_BY_THE_SIMULATOR, *SHOWN_BY_TESTS]
SIMULATED = {defence.name: defence for defence in SHOWN_BY_THE_SIMULATOR}
TESTED = {defence.name: defence for defence in SHOWN_BY_TESTS}
