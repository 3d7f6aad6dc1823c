"""What readers get of jobs: how far each is, by shard, and what was refused. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from execution_ledger.messages.base import Message, Time
from execution_ledger.messages.events import CommandFailed, CommandRejected, decode_event
from execution_ledger.messages.parts import JobAction

from ..writes.jobs import Job
from .records import milliseconds

Row = Mapping[str, Any]


class JobSummary(Message):
    """One line of a list. `waiting` are those of the `count` that are neither done nor refused yet.

    A job has `ended` when none waits any more, which was at `ended_at`.
    """

    id: str
    action: JobAction
    status: Literal["running", "ended"]
    count: int
    done: int
    refused: int
    waiting: int
    created_by: str | None
    reason: str | None
    opened_at: Time
    ended_at: Time | None


class JobShard(Message):
    shard: int
    count: int
    done: int
    refused: int
    waiting: int


class JobRefusal(Message):
    """`id` is the execution, `code` why nothing was done with it, and `detail` says so in words."""

    id: str
    code: str
    detail: str


class JobRecord(JobSummary):
    """`codes` counts the refusals by their code; `refusals` are the first of them, one by one."""

    arguments: dict[str, Any]
    targets_digest: str
    codes: dict[str, int]
    shards: list[JobShard]
    refusals: list[JobRefusal]
    position: str


class JobPage(Message):
    """The newest first; `next` is the cursor of the page after this one; null on the last."""

    items: list[JobSummary]
    next: str | None
    position: str


def job_summary(row: Row) -> JobSummary:
    return JobSummary(**_counted(row, row["done"], row["refused"], row["last_at"]))


def job_record(row: Row, outcomes: Sequence[Row], refusals: Sequence[JobRefusal], position: str) -> JobRecord:
    """`outcomes` are counted by shard and code, without one for what was done."""
    done, refused, codes = Counter[int](), Counter[int](), Counter[str]()
    for outcome in outcomes:
        (done if outcome["refusal"] is None else refused)[outcome["shard"]] += outcome["count"]
        if outcome["refusal"] is not None:
            codes[outcome["refusal"]] += outcome["count"]
    last_at = max((outcome["last_at"] for outcome in outcomes), default=None)
    return JobRecord(
        **_counted(row, done.total(), refused.total(), last_at),
        arguments=json.loads(row["arguments"]) if row["arguments"] else {},
        targets_digest=row["targets_digest"],
        codes=dict(sorted(codes.items())),
        shards=[
            JobShard(
                shard=shard,
                count=count,
                done=done[shard],
                refused=refused[shard],
                waiting=count - done[shard] - refused[shard],
            )
            for shard, count in ((int(shard), count) for shard, count in json.loads(row["shards"]).items())
        ],
        refusals=list(refusals),
        position=position,
    )


def refusals_of(job: Job, rows: Sequence[Row]) -> list[JobRefusal]:
    """A refusal names a command, and of a new execution its id that never was: the job knows whom it was about."""
    targets = {job.command_id(target): target.id for target in job.targets()}
    return [
        JobRefusal(id=targets[row["command_id"]], code=row["refusal"], detail=_words(decode_event(row["event"]).data))
        for row in rows
    ]


def _words(fact: CommandRejected | CommandFailed) -> str:
    return fact.refusal.detail if isinstance(fact, CommandRejected) else fact.error


def _counted(row: Row, done: int, refused: int, last_at: Any) -> dict[str, Any]:
    waiting = row["count"] - done - refused
    return {
        "id": str(row["id"]),
        "action": row["action"],
        "status": "running" if waiting else "ended",
        "count": row["count"],
        "done": done,
        "refused": refused,
        "waiting": waiting,
        "created_by": row["actor"],
        "reason": row["reason"],
        "opened_at": milliseconds(row["opened_at"]),
        "ended_at": None if waiting else milliseconds(last_at),
    }
