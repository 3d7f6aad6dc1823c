"""What happened, for a person to read: faults, answers, code and events in one order of time, and what they broke."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from execution_ledger.verify.findings import NOT_TO_BE_SEEN, PROMISES, Breach
from execution_ledger.verify.log.history import Stored
from execution_ledger.verify.reading import read_log

from .callers import Client, Heard
from .checks import timed
from .cluster import Cluster
from .pipelines import Witness
from .plan import Plan, words_of

LINES_MAX = 400
_TOLD = (
    "attempt",
    "step",
    "status",
    "tries",
    "runner",
    "claim",
    "cause",
    "outcome",
    "refusal",
    "failure",
    "error",
    "owner",
    "dispatcher",
)


class Line(NamedTuple):
    at_s: float
    who: str
    what: str


async def tell(plan: Plan, breaches: Sequence[Breach], cluster: Cluster, client: Client, witness: Witness) -> list[str]:
    """Of executions only those that a breach is about, where it is about any."""
    about = {breach.execution for breach in breaches if breach.execution}
    lines = [*_faults(plan), *_crashes(cluster), *_answers(client, about), *_code(witness, about)]
    lines += _events(cluster, await read_log(cluster.log), breaches, about)
    told = [f"{line.at_s:9.3f} s  {line.who:<13} {line.what}" for line in sorted(lines)]
    left_out = [f"… and {len(told) - LINES_MAX:,} more lines"] if len(told) > LINES_MAX else []
    return told[:LINES_MAX] + left_out + [sentence_of(breach) for breach in breaches]


def sentence_of(breach: Breach) -> str:
    where = f"shard {breach.shard}" + (f", sequence {breach.sequence}" if breach.sequence else "")
    about = f" ({breach.execution})" if breach.execution else ""
    promise = PROMISES.get(breach.promise) or NOT_TO_BE_SEEN[breach.promise]
    return f"BROKEN {breach.promise} ({promise}) at {where}{about}: {breach.what}"


def _faults(plan: Plan) -> Iterator[Line]:
    for fault in plan.faults:
        yield Line(fault.at_s, "fault", words_of(fault))


def _crashes(cluster: Cluster) -> Iterator[Line]:
    for crash in cluster.crashes:
        yield Line(crash.at_s, crash.name, f"ends by itself: {type(crash.error).__name__}: {crash.error}")


def _answers(client: Client, about: set[str]) -> Iterator[Line]:
    for heard in client.history:
        if not about or heard.told.execution_id in about or heard.told.command_id in about:
            yield Line(heard.at_s, "client", f"{_asked(heard)}: {heard.outcome} ({heard.told.status_code})")


def _asked(heard: Heard) -> str:
    ask = heard.ask
    what = f" ask {ask.of}"
    if ask.does == "submit":
        what = f" {ask.pipeline} ({ask.manner}, {ask.seconds:.1f} s)"
    elif ask.does == "enter":
        what = f" {ask.entry} {ask.twin or ''}".rstrip()
    return f"ask {ask.number}: {ask.does}{what} → {heard.told.execution_id or heard.told.command_id or ''}"


def _code(witness: Witness, about: set[str]) -> Iterator[Line]:
    for entry in witness.entries:
        if entry.execution_id in about:
            code = f"code of {entry.execution_id}, attempt {entry.attempt}"
            code += f", step {entry.step}, try {entry.try_}" if entry.step else ""
            yield Line(entry.at_s, entry.life.name, f"enters the {code}")
            if entry.left_s is not None:
                yield Line(entry.left_s, entry.life.name, f"leaves the {code}")


def _events(
    cluster: Cluster, history: Mapping[int, Sequence[Stored]], breaches: Sequence[Breach], about: set[str]
) -> Iterator[Line]:
    """Those of the executions, or of the shards, and those right before a broken place."""
    near = {(breach.shard, (breach.sequence or 0) - back) for breach in breaches for back in range(6)}
    shards = {breach.shard for breach in breaches} if not about else set()
    for at_s, event in timed(cluster, history):
        if event.subject in about or event.shard in shards or (event.shard, event.sequence) in near:
            fact = event.data.model_dump(exclude_none=True, include=set(_TOLD))
            told = ", ".join(f"{name}={value}" for name, value in fact.items())
            kind = event.data.TYPE.removesuffix(".v1")
            yield Line(at_s, f"shard {event.shard}", f"{event.sequence}: {kind} {event.subject} {told}".rstrip())
