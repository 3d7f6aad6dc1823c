"""All that must hold when a run is over: what `verify` checks, and what no log can show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from execution_ledger.clock import World
from execution_ledger.errors import BrokenHistory, LedgerError, LogTruncated, UnknownVersion
from execution_ledger.log.protocol import Lane, Topic
from execution_ledger.messages.catalog import ENTRIES, Template, Twin, resolved
from execution_ledger.messages.events import (
    Aborted,
    AbortRequested,
    ArtifactRecorded,
    BatchOpened,
    Checkpointed,
    CommandFailed,
    CommandRejected,
    Dispatched,
    EntryRegistered,
    Event,
    Failed,
    Queued,
    Requeued,
    Started,
)
from execution_ledger.messages.ids import shard_of
from execution_ledger.messages.lines import LOG_KIND, LogLine
from execution_ledger.objects import MemoryObjects
from execution_ledger.settings import Settings
from execution_ledger.verify.files import NamedFiles, check_files
from execution_ledger.verify.findings import Breach
from execution_ledger.verify.log.causes import check_causes
from execution_ledger.verify.log.history import Stored
from execution_ledger.verify.log.reasons import check_reasons
from execution_ledger.verify.reading import check_whole, read_log
from execution_ledger.verify.views.memory import check_store

from .anew import Anew
from .believed import check_snapshots
from .callers import Client
from .calm import Calm
from .cluster import Cluster
from .decoded import decoded
from .given import check_given
from .job_views import open_jobs
from .liveness import check_liveness
from .obeyed import check_obeyed
from .pipelines import Entry, Witness
from .places import check_places
from .plants import PlantedError
from .states import States

REMEMBERED_MS = 120_000  # after its end, at least
WINDOW_S = 22.0  # two leases and the latest landing: what was decided before it, and only then came to pass


async def check(
    cluster: Cluster, client: Client, witness: Witness, states: States, calm: Calm | Anew, settings: Settings
) -> list[Breach]:
    history = await read_log(cluster.log)
    answers = [heard.told for heard in client.history]
    whole = await check_whole(cluster.log, settings.ledger, answers, at_rest=True, one_clock=not cluster.clock_jumped)
    found = whole.breaches.kept
    try:
        found += [breach async for breach in check_store(cluster.store, history)]
        found += await check_snapshots(cluster.log, cluster.objects, settings.ledger)
        found += states.check(history, settings.ledger)
    except (LedgerError, ValueError) as error:  # a history that cannot be folded
        found.append(Breach(7, 0, None, None, str(error)))
    found += _check_causes(cluster, history)
    found += _check_views(cluster)
    found += _check_failures(cluster, history)
    found += _check_code(witness, history)
    found += check_given(client.history, witness, list(timed(cluster, history)))
    found += check_places(timed(cluster, history), settings.runner.slots)
    found += check_obeyed(cluster, witness)
    found += _check_dispatched(cluster, witness, history)
    found += _check_confirmed(cluster, witness, history)
    found += _check_known(cluster, history)
    found += _check_checkpoints(cluster, witness, history)
    found += _check_logs(cluster, witness, history)
    found += _check_batches(cluster, history)
    found += _check_told(history)
    found += _check_graces(cluster, history)
    found += _check_expiries(cluster, witness, history)
    found += _check_crashes(cluster)
    found += _check_jobs(cluster)
    found += check_liveness(cluster, list(timed(cluster, history)))
    found += calm.check(cluster, client, list(timed(cluster, history)))
    found += await _check_files(cluster, history)
    return found


def _check_causes(cluster: Cluster, history: Mapping[int, Sequence[Stored]]) -> Iterator[Breach]:
    for shard, events in history.items():
        lanes = [cluster.log.partition(Lane(topic, shard)).records for topic in (Topic.COMMANDS, Topic.REPORTS)]
        yield from check_causes((decoded(raw) for raw, _ in events), *lanes)
        yield from check_reasons((decoded(raw) for raw, _ in events), *lanes)


async def _check_files(cluster: Cluster, history: Mapping[int, Sequence[Stored]]) -> list[Breach]:
    """What an event names was whole in the store before the event was written, and nothing takes it away."""
    store = MemoryObjects()
    store.held = cluster.files.held
    named = NamedFiles({})
    for _, event in timed(cluster, history):
        named.feed(event.shard, event.sequence, event.subject, event.data)
    world = World(cluster.clock, cluster.chance)
    return [breach async for breach in check_files(store, world, named.found.values(), contents=True)]


def _check_views(cluster: Cluster) -> Iterator[Breach]:
    """No projector takes the views back behind what another one has written."""
    for before, changes in cluster.store.went_back:
        what = f"The views were at sequence {before.sequence}, and a projector wrote {changes.position.sequence}."
        yield Breach(8, changes.shard, changes.position.sequence, None, what)


def _check_jobs(cluster: Cluster) -> Iterator[Breach]:
    """Somebody looks at each job until the end, so it goes on until it has asked all of its targets."""
    for job in open_jobs(cluster.store):
        yield Breach(9, 0, None, None, f"Job {job} has not asked all of its targets.")


def _check_failures(cluster: Cluster, history: Mapping[int, Sequence[Stored]]) -> Iterator[Breach]:
    """Nothing raises in the ledger but what was planted there."""
    for _, event in timed(cluster, history):
        if isinstance(event.data, CommandFailed) and not event.data.error.startswith(PlantedError.__name__):
            yield Breach(3, event.shard, event.sequence, None, f"Deciding raised {event.data.error}")


def _check_code(witness: Witness, history: Mapping[int, Sequence[Stored]]) -> Iterator[Breach]:
    """What the users' code saw: limits at every instant, and each attempt begun once."""
    for entry, under_way in witness.crowded:
        what = f"{under_way} of {entry.pipeline!r} were running at {entry.at_s:.3f} s, more than its limit."
        yield Breach(6, shard_of(entry.execution_id), None, entry.execution_id, what)
    for entry, in_slots in witness.overfull:
        what = f"{entry.life.name} ran the code of {in_slots} at {entry.at_s:.3f} s, more than it has slots for."
        yield Breach(6, shard_of(entry.execution_id), None, entry.execution_id, what)
    for entry in witness.doubled():
        what = f"The code of attempt {entry.attempt} was begun again at {entry.at_s:.3f} s."
        yield Breach(6, shard_of(entry.execution_id), None, entry.execution_id, what)
    for entry in witness.unfenced():
        what = f"Its code went on until {entry.left_s:.3f} s, although its runner had been silent for too long before."
        yield Breach(6, shard_of(entry.execution_id), None, entry.execution_id, what)
    once = set(_at_most_once(history))
    begun = set[tuple[str, str | None]]()
    for entry in witness.entries:
        if entry.execution_id in once and (entry.execution_id, entry.step) in begun:
            what = (
                f"Its code was begun again at {entry.at_s:.3f} s (attempt {entry.attempt}), and may run at most once."
            )
            yield Breach(6, shard_of(entry.execution_id), None, entry.execution_id, what)
        begun.add((entry.execution_id, entry.step))


def _at_most_once(history: Mapping[int, Sequence[Stored]]) -> Iterator[str]:
    for events in history.values():
        for raw, _ in events:
            if b"at_most_once" not in raw:
                continue
            event = decoded(raw)
            if isinstance(event.data, Queued) and event.data.policy.delivery == "at_most_once":
                yield event.subject


def _check_dispatched(cluster: Cluster, witness: Witness, history: Mapping[int, Sequence[Stored]]) -> Iterator[Breach]:
    """No code is begun before the log says so."""
    dispatched_s = {
        (event.subject, event.data.attempt): at_s
        for at_s, event in timed(cluster, history)
        if isinstance(event.data, Dispatched)
    }
    for entry in witness.entries:
        if dispatched_s.get((entry.execution_id, entry.attempt), entry.at_s) >= entry.at_s:
            what = f"The code of attempt {entry.attempt} was begun at {entry.at_s:.3f} s, before it was dispatched."
            yield Breach(6, shard_of(entry.execution_id), None, entry.execution_id, what)


def _check_confirmed(cluster: Cluster, witness: Witness, history: Mapping[int, Sequence[Stored]]) -> Iterator[Breach]:
    """What may run at most once begins when the log says that it was begun."""
    once = set(_at_most_once(history))
    started_s = {
        (event.subject, event.data.attempt): at_s
        for at_s, event in timed(cluster, history)
        if isinstance(event.data, Started)
    }
    for entry in witness.entries:
        if entry.execution_id in once and started_s.get((entry.execution_id, entry.attempt), entry.at_s) >= entry.at_s:
            what = (
                f"The code of attempt {entry.attempt} was begun at {entry.at_s:.3f} s, before its start was recorded."
            )
            yield Breach(6, shard_of(entry.execution_id), None, entry.execution_id, what)


def _check_known(cluster: Cluster, history: Mapping[int, Sequence[Stored]]) -> Iterator[Breach]:
    """No ledger has forgotten what has ended lately."""
    newest = dict[str, int]()
    for _, event in timed(cluster, history):
        unknown = isinstance(event.data, CommandRejected) and event.data.refusal.code == "unknown_execution"
        if unknown and event.recordedtime - newest.get(event.subject, -REMEMBERED_MS) < REMEMBERED_MS:
            what = f"It was told that {event.subject} is unknown, which was there."
            yield Breach(5, event.shard, event.sequence, None, what)
        if event.version is not None:
            newest[event.subject] = event.recordedtime


def _check_checkpoints(cluster: Cluster, witness: Witness, history: Mapping[int, Sequence[Stored]]) -> Iterator[Breach]:
    """An attempt begins with the newest checkpoint of its execution, which is what one that failed had said last."""
    entries = _by_attempt(witness)
    newest = dict[str, object]()
    for _, event in timed(cluster, history):
        known, what = newest.get(event.subject), None
        begun = entries.get((event.subject, getattr(event.data, "attempt", None) or 0), [])
        given = [entry.given for entry in begun if entry.given != known]
        said = [entry.said for entry in begun if entry.said is not None]
        match event.data:
            case Checkpointed(value=value):
                newest[event.subject] = value.value()
            case Dispatched(attempt=attempt) if given:
                what = f"Attempt {attempt} was given the checkpoint {given[0]}, and the newest is {known}."
            case Requeued(cause="failed", attempt=attempt) if said and known not in said:
                what = f"Attempt {attempt} failed after its checkpoint {said[-1]}, and the newest is {known}."
        if what:
            yield Breach(6, event.shard, event.sequence, event.subject, what)


def _by_attempt(witness: Witness) -> dict[tuple[str, int], list[Entry]]:
    """Of steps, several: each try of each."""
    found = defaultdict[tuple[str, int], list[Entry]](list)
    for entry in witness.entries:
        found[entry.execution_id, entry.attempt].append(entry)
    return found


def _check_logs(cluster: Cluster, witness: Witness, history: Mapping[int, Sequence[Stored]]) -> Iterator[Breach]:
    """A log that an event names is there, and holds what its attempt has printed, all of it."""
    entries = _by_attempt(witness)
    for _, event in timed(cluster, history):
        if isinstance(event.data, ArtifactRecorded) and event.data.kind == LOG_KIND:
            kept = cluster.files.held.get(event.data.file.object or "", b"")
            lines = [LogLine.model_validate_json(raw).text for raw in kept.splitlines()]
            told = [line for entry in entries[event.subject, event.data.attempt] for line in entry.told]
            if not lines or sorted(lines) != sorted(told):  # steps print side by side
                what = f"The log of attempt {event.data.attempt} does not hold what it printed, but {lines}."
                yield Breach(6, event.shard, event.sequence, event.subject, what)


def _check_batches(cluster: Cluster, history: Mapping[int, Sequence[Stored]]) -> Iterator[Breach]:
    """A batch is opened before any of its executions is there: else a repeat would open another one. And what it, or a
    job, runs again it runs again once.
    """
    opened_s = {event.subject: at_s for at_s, event in timed(cluster, history) if isinstance(event.data, BatchOpened)}
    again: set[tuple[str, str]] = set()
    for at_s, event in timed(cluster, history):
        origin = event.data.origin if isinstance(event.data, Queued) else None
        if origin and event.data.link:
            if (made := (origin.source, event.data.link.to)) in again:
                what = f"{origin.source} has run {event.data.link.to} again twice."
                yield Breach(4, event.shard, event.sequence, event.subject, what)
            again.add(made)
        if origin and origin.source.startswith("batch/") and opened_s.get(origin.source, at_s) >= at_s:
            what = f"It was queued at {at_s:.3f} s, before {origin.source} was opened."
            yield Breach(4, event.shard, event.sequence, event.subject, what)


def _check_told(history: Mapping[int, Sequence[Stored]]) -> Iterator[Breach]:
    """What a run got is what a twin that was registered makes of a template that was."""
    events = [decoded(raw) for shard in history.values() for raw, _ in shard]
    entered = [event.data for event in events if isinstance(event.data, EntryRegistered)]
    entries = [(fact.key, ENTRIES[fact.NOUN].model_validate(fact.definition.value())) for fact in entered]
    templates = [entry for _, entry in entries if isinstance(entry, Template)]
    for event in events:
        fact = event.data
        if not isinstance(fact, Queued) or fact.properties is None or fact.own_properties is None:
            continue
        told = fact.properties.value()
        own = {name: told[name] for name in fact.own_properties}
        twins = [entry for key, entry in entries if isinstance(entry, Twin) and key == fact.twin]
        if not any(resolved(template, twin, own) == told for template in templates for twin in twins):
            yield Breach(3, event.shard, event.sequence, event.subject, f"Nothing made {told} of twin {fact.twin}.")


def _check_graces(cluster: Cluster, history: Mapping[int, Sequence[Stored]]) -> Iterator[Breach]:
    """No dispatcher has an execution ended by force before the grace of its abort is over."""
    grace_until = dict[str, int]()
    for _, event in timed(cluster, history):
        match event.data:
            case AbortRequested(grace_until=until) if until is not None:
                grace_until[event.subject] = until
            case Aborted(outcome="forced") if (event.actor or "").startswith("dispatcher-"):
                if (early_ms := grace_until.get(event.subject, 0) - event.recordedtime) > 0:
                    what = f"It was ended by force {early_ms} ms before the grace of its abort was over."
                    yield Breach(3, event.shard, event.sequence, event.subject, what)


def _check_expiries(cluster: Cluster, witness: Witness, history: Mapping[int, Sequence[Stored]]) -> Iterator[Breach]:
    """Nobody is held for lost whose code runs, and whose heartbeats have come in time all the while."""
    entries = {(entry.execution_id, entry.attempt): entry for entry in witness.entries}
    for at_s, event in timed(cluster, history):
        entry = entries.get((event.subject, getattr(event.data, "attempt", None) or 0))
        if entry is None or not _is_loss(event) or (entry.left_s or at_s) < at_s or entry.at_s > at_s:
            continue
        heard = [heard_s for heard_s in cluster.log.heard.get(entry.life, ()) if heard_s < at_s]
        gaps = [later - earlier for earlier, later in pairwise([*heard, at_s]) if later > at_s - WINDOW_S]
        if gaps and max(gaps) < witness.fence_s:
            what = f"Attempt {entry.attempt} was held for lost at {at_s:.3f} s, and {entry.life.name} was alive."
            yield Breach(10, event.shard, event.sequence, event.subject, what)


def _is_loss(event: Event) -> bool:
    match event.data:
        case Requeued(cause=cause):
            return cause == "lost"
        case Failed(failure=failure):
            return failure.kind == "lost"
    return False


def timed(cluster: Cluster, history: Mapping[int, Sequence[Stored]]) -> Iterator[tuple[float, Event]]:
    """All events, shard by shard, each with the virtual time of its commit."""
    for shard, events in history.items():
        at_s = 0.0
        for raw, offset in events:
            at_s = cluster.log.committed.get((shard, offset), at_s)
            yield at_s, decoded(raw)


def _check_crashes(cluster: Cluster) -> Iterator[Breach]:
    """A service may end by itself only where what it has to read was deleted, was not given to it, or is newer than its
    code. A ledger does neither: it lets the shard go, and another one that can read it takes it.
    """
    for crash in cluster.crashes:
        expected = isinstance(crash.error, LogTruncated | UnknownVersion) or (
            isinstance(crash.error, BrokenHistory) and cluster.troubles.struck["skips"]
        )
        if not expected or crash.name.startswith("ledger"):
            what = f"{crash.name} ended at {crash.at_s:.3f} s: {type(crash.error).__name__}: {crash.error}"
            yield Breach(9, 0, None, None, what)
