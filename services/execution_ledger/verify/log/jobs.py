"""Jobs: each was opened before it asked anything, and asks each of its targets once. A part of promise 4.

A job's targets live on all shards, so what it asked is gathered by shard and judged over all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pydantic import TypeAdapter

from execution_ledger.ledger.shard import REMEMBER_MS
from execution_ledger.messages.events import Aborted, CommandRejected, CommandRepeated, Fact, JobOpened
from execution_ledger.messages.ids import ExecutionId, command_id_of_job

from ..findings import Breach
from .documents import Document, time_ms

CAUSED = "job/"
_TARGETS: TypeAdapter[list[str]] = TypeAdapter(list[ExecutionId])


@dataclass
class Jobs:
    """Of one shard: the jobs that were opened on it, and what each job asked here: command id to sequence."""

    opened: dict[str, frozenset[str] | None] = field(default_factory=dict)  # by job, the command ids that it may send
    asked: dict[str, dict[str, int]] = field(default_factory=dict)
    refused_ms: dict[str, int] = field(default_factory=dict)  # by command id
    twice: list[Breach] = field(default_factory=list)

    def open(self, fact: JobOpened) -> str | None:
        """What is wrong with it, in words."""
        if f"{CAUSED}{fact.job_id}" in self.opened:
            return f"job {fact.job_id} was opened before"
        targets = targets_of(fact)
        if targets is None:
            self.opened[f"{CAUSED}{fact.job_id}"] = None
            return "its targets are no list of ids"
        self.opened[f"{CAUSED}{fact.job_id}"] = frozenset(command_id_of_job(fact.job_id, one) for one in targets)
        return None if len(targets) == fact.count else f"it has {len(targets)} targets, and says {fact.count}"

    def follow(self, document: Document) -> None:
        job, command_id = document.get("causationid") or "", document.get("commandid")
        if not job.startswith(CAUSED) or command_id is None or _says_nothing_new(document["data"]):
            return
        asked, now_ms = self.asked.setdefault(job, {}), time_ms(document["recordedtime"])
        was_refused = now_ms - self.refused_ms.get(command_id, now_ms) >= REMEMBER_MS  # and forgotten
        if isinstance(document["data"], CommandRejected):
            self.refused_ms[command_id] = now_ms
        if command_id in asked and not was_refused:
            what = f"{job} asked twice for the same (command {command_id}), first in sequence {asked[command_id]}."
            self.twice.append(Breach(4, document["shard"], document["sequence"], None, what))
        asked[command_id] = document["sequence"]


def targets_of(fact: JobOpened) -> list[str] | None:
    """None where they are no ids."""
    try:
        return _TARGETS.validate_json(fact.targets.inline or "")
    except ValueError:
        return None


def _says_nothing_new(fact: Fact) -> bool:
    """An abort in the queue is two events of one command, and one that was refused for the time in its id is asked for
    again. What is not above its source's ordinal had come before, and may have been forgotten."""
    if isinstance(fact, CommandRejected):
        return fact.refusal.is_no_answer or fact.refusal.code == "not_above_ordinal"
    return isinstance(fact, Aborted | CommandRepeated)


def check_jobs(shards: Iterable[tuple[int, Jobs]], *, all_there: bool = True) -> Iterator[Breach]:
    """`shards` by number. `all_there`: False where events are missing, so that a job may have been opened in them."""
    found = list(shards)
    opened = {job: may for _, jobs in found for job, may in jobs.opened.items()}
    for shard, jobs in found:
        yield from jobs.twice
        for job, asked in jobs.asked.items():
            may = opened.get(job, frozenset() if all_there else None)
            for command_id, sequence in asked.items():
                if may is not None and command_id not in may:
                    what = f"{job} never was to ask for this (command {command_id})."
                    yield Breach(4, shard, sequence, None, what)
                    break
