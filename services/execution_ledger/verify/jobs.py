"""Jobs: each was opened before it asked anything, and asks each of its targets once. A part of promise 4.

A job's targets live on all shards, so what it asked is gathered by shard and judged over all of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from execution_ledger.ledger.shard import REFUSED_IDS, REMEMBER_MS
from execution_ledger.messages.events import Aborted, CommandRejected, CommandRepeated, Fact, JobOpened
from execution_ledger.messages.ids import command_id_of_job

from .documents import Document, time_ms
from .findings import Breach

CAUSED = "job/"


@dataclass
class Jobs:
    """Of one shard: the jobs that were opened on it, and what each job asked here: command id to sequence."""

    opened: dict[str, frozenset[str]] = field(default_factory=dict)  # by job, the command ids that it may send
    asked: dict[str, dict[str, int]] = field(default_factory=dict)
    refused_ms: dict[str, int] = field(default_factory=dict)  # by command id
    twice: list[Breach] = field(default_factory=list)

    def open(self, fact: JobOpened) -> str | None:
        """What is wrong with it, in words."""
        targets = json.loads(fact.targets.inline or "[]")
        if f"{CAUSED}{fact.job_id}" in self.opened:
            return f"job {fact.job_id} was opened before"
        self.opened[f"{CAUSED}{fact.job_id}"] = frozenset(command_id_of_job(fact.job_id, one) for one in targets)
        if hashlib.sha256((fact.targets.inline or "").encode()).hexdigest() != fact.targets.sha256:
            return "its targets are not those that their digest was made of"
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


def _says_nothing_new(fact: Fact) -> bool:
    """An abort in the queue is two events of one command, and one that was refused for the time in its id is asked for
    again. What is not above its source's ordinal had come before, and may have been forgotten."""
    if isinstance(fact, CommandRejected):
        return fact.refusal.code in REFUSED_IDS | {"not_above_ordinal"}
    return isinstance(fact, Aborted | CommandRepeated)


def check_jobs(shards: Iterable[tuple[int, Jobs]]) -> Iterator[Breach]:
    """`shards` by number; what one of them lacks because it is damaged was named before."""
    found = list(shards)
    opened = {job: may for _, jobs in found for job, may in jobs.opened.items()}
    for shard, jobs in found:
        yield from jobs.twice
        for job, asked in jobs.asked.items():
            for command_id, sequence in asked.items():
                if command_id not in opened.get(job, ()):
                    what = f"{job} never was to ask for this (command {command_id})."
                    yield Breach(4, shard, sequence, None, what)
                    break
