"""Why an execution is not running: everything that a turn looks at before it dispatches, told in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice

from execution_ledger.messages.explanation import (
    HOLDERS_MAX,
    Explanation,
    Holder,
    LimitUse,
    Offer,
    Place,
    Why,
)
from execution_ledger.messages.parts import Status

from .board import Execution, Hold, Phase, Token
from .desk import Desk
from .queue import Group

_PATIENCE_MS = 2_000  # a ledger that decides for longer than this is away or overloaded
_NAMED_MAX = 3
_SERVE = "exledger serve runner --app MODULE"


def explain(desk: Desk, execution_id: str) -> Explanation | None:
    """None for one that is not known here: never heard of, or ended."""
    execution = desk.picture.board.get(execution_id)
    if execution is None or execution.phase is Phase.ENDED:
        return None
    return Explanation(
        id=execution.id,
        name=execution.name,
        pipeline=execution.pipeline,
        version=execution.version,
        pool=execution.pool,
        status=_status(execution),
        since=execution.since_ms,
        attempt=execution.attempt,
        runner=execution.runner or None,
        not_before=execution.not_before if desk.picture.is_backing_off(execution) else None,
        expires_at=None if execution.runner else execution.expires_at,
        timeout_at=execution.timeout_at if execution.runner else None,
        reasons=_reasons(desk, execution),
        place=place(desk, execution),
        limit=limit_use(desk, execution.pipeline),
        runners=offer(desk, execution.pool, execution.digest),
    )


def offer(desk: Desk, pool: str, digest: str) -> Offer:
    picture = desk.picture
    found = [runner for name in picture.fleet.offering(pool, digest) if (runner := picture.fleet.get(name))]
    ready = [each for each in found if not (each.beat.draining or picture.fleet.is_silent(each, picture.now_ms))]
    slots = sum(each.beat.slots for each in ready)
    is_open = [each.beat for each in ready if not _is_closed(desk, each.beat.process)]
    free = sum(max(0, beat.slots - picture.slots.used_by(beat.process)) for beat in is_open)
    return Offer(runners=len(ready), slots=slots, free=free)


def limit_use(desk: Desk, pipeline: str) -> LimitUse | None:
    limits, slots, board = desk.picture.limits, desk.picture.slots, desk.picture.board
    if (limit := limits.of(pipeline)) is None:
        return None
    holders = []
    for token, runner in islice(slots.taken_of(pipeline), HOLDERS_MAX):
        held = board.get(token.execution_id)
        name = held.name if held else None
        holders.append(Holder(id=token.execution_id, attempt=token.attempt, name=name, runner=runner))
    return LimitUse(pipeline=pipeline, limit=limit, used=slots.running(pipeline), holders=holders)


def place(desk: Desk, execution: Execution) -> Place | None:
    queue = desk.picture.queue
    if (own := queue.place_of(execution.id)) is None:
        return None
    before = Counter[str]()  # by pipeline
    for group, places in queue.groups():
        if group.pool == execution.pool:
            before[group.pipeline] += sum(other < own for other in places)
    return Place(
        before=before.total(),
        before_of_pipeline=before[execution.pipeline],
        priority=execution.priority,
        waiting_ms=_age_ms(desk, execution.since_ms),
    )


def _status(execution: Execution) -> Status:
    if execution.aborting:
        return Status.ABORT_REQUESTED
    return Status.STARTED if execution.phase is Phase.STARTED else Status.QUEUED


def _reasons(desk: Desk, execution: Execution) -> list[Why]:
    if execution.runner:
        silent = _runner_is_silent(desk, execution.runner)
        return [_under_way(desk, execution), *([silent] if silent else [])]
    if execution.hold:
        return [_held(desk, execution, execution.hold)]
    if ahead := desk.picture.board.ahead(execution):
        return [_behind(execution, ahead)]
    if waits := _waits_for_time(desk, execution):
        return [waits]
    following = Token(execution.id, execution.attempt + 1)
    if (asked_ms := desk.asking.asked_ms(following)) is not None:
        return [_asked(desk, execution, asked_ms)]
    if desk.asking.rests(following):
        return [Why(code="refused", text="Its ledger refused to dispatch it just now. It is asked again within 5 s.")]
    hindrances = (_no_runner(desk, execution), _limit_taken(desk, execution), _ledger_away(desk, execution))
    return [each for each in hindrances if each] or [_its_turn(desk, execution)]


# --- it has a runner --------------------------------------------------------------------------------------------


def _under_way(desk: Desk, execution: Execution) -> Why:
    runner, ago = execution.runner, _ago(desk, execution.since_ms)
    if execution.aborting:
        return Why(code="aborting", text=f"It was asked to end. {runner} {_grace(desk, execution)}.")
    if execution.phase is Phase.STARTED:
        return Why(code="running", text=f"It runs on {runner}, started {ago}.{_left(desk, execution)}")
    return Why(code="dispatched", text=f"It was dispatched to {runner} {ago}, and has not started yet.")


def _left(desk: Desk, execution: Execution) -> str:
    if execution.timeout_at is None:
        return ""
    left_ms = execution.timeout_at - desk.picture.now_ms
    return f" It has {duration(left_ms)} left." if left_ms > 0 else " Its time is over: it is ended now."


def _grace(desk: Desk, execution: Execution) -> str:
    if execution.grace_until is None:
        return "has been told, and has no deadline for it"
    left_ms = execution.grace_until - desk.picture.now_ms
    return f"has {duration(left_ms)} left to end it" if left_ms > 0 else "did not end it in time: it is ended now"


def _runner_is_silent(desk: Desk, name: str) -> Why | None:
    fleet, now_ms = desk.picture.fleet, desk.picture.now_ms
    lease = duration(desk.picture.lease_ms)
    runner = fleet.get(name)
    if runner is None:
        return Why(
            code="runner_silent", text=f"{name} is not heard of. After {lease} of that, the attempt counts as lost."
        )
    if not fleet.is_silent(runner, now_ms):
        return None
    silent = duration(now_ms - runner.beat_ms)
    return Why(code="runner_silent", text=f"{name} is silent for {silent}. After {lease} the attempt counts as lost.")


# --- it waits ---------------------------------------------------------------------------------------------------


def _held(desk: Desk, execution: Execution, hold: Hold) -> Why:
    why = f": {hold.reason.rstrip('.')}" if hold.reason else ""
    return Why(
        code="held",
        text=f"{hold.by} held it back {_ago(desk, hold.since_ms)}{why}.",
        next=f"When it may run: exledger release {execution.name}",
    )


def _behind(execution: Execution, ahead: Execution) -> Why:
    business_id = execution.business.partition("/")[2]
    return Why(
        code="behind",
        text=f"It waits for the end of {ahead.name}, which has the same business id {business_id!r} and came first.",
        next=f"See why that one has not ended: exledger explain {ahead.name}",
    )


def _waits_for_time(desk: Desk, execution: Execution) -> Why | None:
    now_ms = desk.picture.now_ms
    if execution.expires_at is not None and now_ms >= execution.expires_at:
        return Why(code="expiring", text="It has waited for a runner for longer than it may: it is ended now.")
    if execution.not_before is None or not desk.picture.is_backing_off(execution):
        return None
    text = f"Attempt {execution.attempt} is over ({execution.cause.rstrip('.')})."
    return Why(
        code="not_before",
        text=f"{text} Attempt {execution.attempt + 1} may begin in {duration(execution.not_before - now_ms)}.",
        next=f"If that would fail, too, end it: exledger abort {execution.name}",
    )


def _asked(desk: Desk, execution: Execution, asked_ms: int) -> Why:
    ago = _ago(desk, asked_ms)
    if _age_ms(desk, asked_ms) < _PATIENCE_MS:
        return Why(code="asked", text=f"It is being dispatched: its ledger was asked {ago}.")
    return Why(
        code="ledger_away",
        text=f"The ledger of shard {execution.shard} was asked {ago} to dispatch it, and has not answered.",
        next="See that a ledger runs, and its log: exledger serve ledger",
    )


def _no_runner(desk: Desk, execution: Execution) -> Why | None:
    """Everything about runners, in the order in which one has to mend it."""
    fleet = desk.picture.fleet
    what = f"version {execution.version} of {execution.pipeline}"
    beats = [runner.beat for name in fleet.names() if (runner := fleet.get(name))]
    in_pool = [beat for beat in beats if beat.pool == execution.pool]
    if not in_pool:
        return Why(
            code="no_runner", text=f"No runner of pool {execution.pool} is heard of.", next=f"Start one: {_SERVE}"
        )
    offering = fleet.offering(execution.pool, execution.digest)
    if not offering:
        others = _listed(sorted(beat.process for beat in in_pool if execution.pipeline in beat.offers))
        has = f" {others} offers another version." if others else ""
        newest = f"exledger abort {execution.name}, then exledger rerun {execution.name} --newest"
        step = f"Start one that has it: {_SERVE}; or abort it and run the newest: {newest}"
        return Why(code="not_offered", text=f"No runner offers {what}.{has}", next=step)
    ready = offer(desk, execution.pool, execution.digest)
    if not ready.runners:
        text = f"Every runner that offers {what} is stopping or silent: {_listed(sorted(offering))}."
        return Why(code="runners_away", text=text, next=f"Start another: {_SERVE}")
    return _no_empty_runner(desk, execution) if execution.alone else _no_slot(desk, execution, ready)


def _no_slot(desk: Desk, execution: Execution, ready: Offer) -> Why | None:
    if ready.free:
        return None
    closed = [name for name in _offering(desk, execution) if _is_closed(desk, name)]
    text = f"All {ready.slots} slots of the runners that offer it are taken."
    if closed:
        text = (
            "No slot of the runners that offer it is free. "
            f"Nothing else is given to {_listed(closed)}: one whose runner was lost before runs alone."
        )
    return Why(
        code="slots_taken",
        text=text,
        next=f"Wait for one to end, or start another runner: {_SERVE}",
    )


def _no_empty_runner(desk: Desk, execution: Execution) -> Why | None:
    if desk.room().best_for(Group.of(execution)):
        return None
    kept = [runner for runner in _offering(desk, execution) if runner in desk.kept_back]
    until = f" {_listed(kept)} is given nothing else until then." if kept else ""
    lost = {1: "once", 2: "twice"}.get(execution.losses, f"{execution.losses} times")
    return Why(
        code="runs_alone",
        text=f"Its runner was lost {lost}, so it runs alone: it waits for one with nothing on it.{until}",
        next=f"Start another runner: {_SERVE}; or end it: exledger abort {execution.name}",
    )


def _offering(desk: Desk, execution: Execution) -> list[str]:
    return sorted(desk.picture.fleet.offering(execution.pool, execution.digest))


def _is_closed(desk: Desk, runner: str) -> bool:
    """Whether nothing may be beside what it has, or is kept for."""
    return runner in desk.kept_back or desk.picture.slots.is_alone(runner)


def _limit_taken(desk: Desk, execution: Execution) -> Why | None:
    use = limit_use(desk, execution.pipeline)
    if use is None or use.used < use.limit:
        return None
    holders = _listed([holder.name or f"{holder.id} (ended, its code perhaps not)" for holder in use.holders], use.used)
    first = next((holder.name for holder in use.holders if holder.name), None)
    return Why(
        code="limit_taken",
        text=f"The limit {use.limit} of {use.pipeline} is taken by {holders}.",
        next=f"Wait for one to end, or end one: exledger abort {first}" if first else None,
    )


def _ledger_away(desk: Desk, execution: Execution) -> Why | None:
    undecided, since_ms = desk.asking.undecided(execution.shard), desk.asking.undecided_since_ms(execution.shard)
    if since_ms is None or undecided < desk.share_of(desk.room()):
        return None
    text = f"The ledger of shard {execution.shard} has {undecided} others to dispatch first, "
    return Why(
        code="ledger_away",
        text=f"{text}the oldest asked for {_ago(desk, since_ms)}.",
        next="If that lasts, see that a ledger runs, and its log: exledger serve ledger",
    )


def _its_turn(desk: Desk, execution: Execution) -> Why:
    its = place(desk, execution)
    before = its.before if its else 0
    told = f"{before} {'is' if before == 1 else 'are'} before it" if before else "it is next"
    return Why(code="turn", text=f"Nothing is in its way: {told}.")


# --- words ------------------------------------------------------------------------------------------------------


def duration(milliseconds: int) -> str:
    """To the second: the log's time comes once a second."""
    seconds = max(0, milliseconds) // 1_000
    if seconds < 1:
        return "less than a second"
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"


def _age_ms(desk: Desk, since_ms: int) -> int:
    return max(0, desk.picture.now_ms - since_ms)


def _ago(desk: Desk, since_ms: int) -> str:
    return f"{duration(_age_ms(desk, since_ms))} ago"


def _listed(names: Sequence[str], count: int | None = None) -> str:
    """The first few of `count`, and how many more there are."""
    named = list(names[:_NAMED_MAX])
    more = (len(names) if count is None else count) - len(named)
    words = [*named, f"{more} more"] if more else named
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
