"""What a client asks for is queued, code is given that, and what it gives back is what the log holds. Promise 6."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from execution_ledger.messages.events import AbortRequested, Completed, Event, Queued, StepChanged
from execution_ledger.messages.ids import shard_of
from execution_ledger.verify.answers import RECEIVED
from execution_ledger.verify.findings import Breach

from .callers import Heard
from .pipelines import AROUND, Entry, Witness
from .plan import Ask

Timed = tuple[float, Event]
# What no client of the simulation changes when it asks for something once more.
_AS_BEFORE = ("labels", "priority", "twin", "mode", "options", "experiment", "own_properties", "business_id")


def check_given(heard: Iterable[Heard], witness: Witness, events: Sequence[Timed]) -> Iterator[Breach]:
    queued = {event.subject: event for _, event in events if isinstance(event.data, Queued)}
    yield from _check_asked(heard, [event for _, event in events])
    for entry in witness.entries:
        if event := queued.get(entry.execution_id):
            for what, given, wanted in _pairs(entry, event.data):
                if given != wanted:
                    sentence = f"Its code was begun with the {what} {given}, and it was queued with {wanted}."
                    yield Breach(6, shard_of(entry.execution_id), None, entry.execution_id, sentence)
    yield from _check_again(queued)
    yield from _check_ends(queued, events)


def _check_again(queued: Mapping[str, Event]) -> Iterator[Breach]:
    linked = ((event, event.data.link) for event in queued.values() if event.data.link)
    for event, link in linked:
        for name in _AS_BEFORE if link.to in queued else ():
            now, before = getattr(event.data, name), getattr(queued[link.to].data, name)
            if now != before:
                what = f"It is a {link.how} with {name} {now}, where {before} was asked for before."
                yield Breach(6, event.shard, event.sequence, event.subject, what)


def _check_ends(queued: Mapping[str, Event], events: Sequence[Timed]) -> Iterator[Breach]:
    """Whatever its manner is, code that completes gives its seconds back, and all of its steps have completed."""
    completed = set[tuple[str, int, str]]()
    for _, event in events:
        fact, first = event.data, queued.get(event.subject)
        if isinstance(fact, StepChanged) and fact.status == "completed":
            completed.add((event.subject, fact.attempt, fact.step))
        if isinstance(fact, Completed) and first:
            outputs, wanted = fact.outputs.value(), {"n": first.data.inputs.value()["seconds"]}
            if outputs != wanted:
                what = f"It completed with {outputs}, and its code gave back {wanted}."
                yield Breach(6, event.shard, event.sequence, event.subject, what)
            left = [step for step in first.data.steps or () if (event.subject, fact.attempt, step) not in completed]
            if left:
                what = f"It completed, and nothing says so of its steps {', '.join(left)}."
                yield Breach(6, event.shard, event.sequence, event.subject, what)


def _pairs(entry: Entry, fact: Queued) -> Iterator[tuple[str, Any, Any]]:
    wanted = {name: getattr(fact, name) for name in AROUND}
    wanted["properties"] = fact.properties.value() if fact.properties else {}
    yield "inputs", entry.inputs, fact.inputs.value()
    yield from ((name, value, wanted[name]) for name, value in entry.around.items())


def _check_asked(heard: Iterable[Heard], events: Iterable[Event]) -> Iterator[Breach]:
    """What the first answer to a request is about, and each execution of a batch."""
    by_command = {event.commandid: event for event in reversed([*events])}
    for each in heard:
        event = by_command.get(each.told.command_id)
        # What was only received may yet be decided in another body, which came first.
        was_decided = each.outcome == "ok" and each.told.status_code != RECEIVED
        if was_decided and event and (pair := _asked(each.ask, event)) and pair[0] != pair[1]:
            what = f"Ask {each.ask.number} was for {pair[0]}, and it was taken for {pair[1]}."
            yield Breach(6, event.shard, event.sequence, event.subject, what)
    for event in by_command.values():
        fact = event.data
        is_first = (
            isinstance(fact, Queued) and fact.origin and fact.origin.source.startswith("batch/") and not fact.link
        )
        if is_first and fact.priority != fact.origin.ordinal:  # which the client made so
            what = (
                f"It is number {fact.origin.ordinal} of its batch, and was queued with what number {fact.priority} was."
            )
            yield Breach(6, event.shard, event.sequence, event.subject, what)


def _asked(ask: Ask, event: Event) -> tuple[Any, Any] | None:
    """What was asked for, and what is there; None where there is nothing to compare."""
    match ask.does, event.data:
        case "submit", Queued() as fact:
            wanted = (
                ask.pipeline,
                ask.manner,
                ask.seconds + ask.changed,
                ask.count,
                ask.business,
                ask.twin,
                ask.experiment,
            )
            inputs = fact.inputs.value()
            place = (fact.pipeline.name, inputs["manner"], inputs["seconds"], fact.priority)
            return wanted, (*place, fact.business_id, fact.twin, fact.experiment)
        case (("retry" | "rerun"), Queued(link=link)):
            return ask.does, link and link.how
        case "abort", AbortRequested() if ask.number >= 0:
            return ("bob", "enough"), (event.actor, event.reason)
    return None
