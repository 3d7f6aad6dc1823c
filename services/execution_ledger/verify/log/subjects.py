"""What the events are about that are no part of an execution's history: their subject, and the shard it lives on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from execution_ledger.messages.events import (
    BatchOpened,
    CommandFailed,
    CommandUnreadable,
    DispatcherClaimed,
    EntryFact,
    Fact,
    JobOpened,
    PipelineRegistered,
    ShardCheckpointed,
    ShardClaimed,
    ShardCreated,
)
from execution_ledger.messages.ids import CATALOG_SHARD

from .documents import Document

Subject = Callable[[Any, int], str]


def wrong_subject(document: Document, shard: int) -> str | None:
    """In words. What was refused or repeated may be about anything."""
    fact, subject = document["data"], document["subject"]
    wanted = _subject_of(fact, shard)
    if wanted is not None and subject != wanted:
        return f"its subject is {subject!r}, and it tells of {wanted!r}"
    if isinstance(fact, PipelineRegistered | EntryFact) and shard != CATALOG_SHARD:
        return f"it is about {subject}, and the catalog lives on shard {CATALOG_SHARD}"
    if isinstance(fact, BatchOpened | JobOpened) and shard == CATALOG_SHARD:
        return f"it is about {subject}, and shard {CATALOG_SHARD} holds the catalog alone"
    return None


def wrong_offset(document: Document) -> str | None:
    """Of a record that could not be read or decided, in words: its trace stands where it was read."""
    fact = document["data"]
    if not isinstance(fact, CommandUnreadable | CommandFailed):
        return None
    read = document["cmdoffset"] if fact.lane == "commands" else document["repoffset"]
    return None if fact.offset == read else f"it tells of offset {fact.offset}, and {read} is what was read there"


def _subject_of(fact: Fact, shard: int) -> str | None:
    find = _SUBJECTS.get(type(fact))
    return find(fact, shard) if find else f"{fact.NOUN}/{fact.key}" if isinstance(fact, EntryFact) else None


def _of_the_shard(_: Fact, shard: int) -> str:
    return f"shard/{shard}"


_SUBJECTS: dict[type[Fact], Subject] = {
    **dict.fromkeys((ShardCreated, ShardClaimed, ShardCheckpointed, CommandUnreadable, CommandFailed), _of_the_shard),
    DispatcherClaimed: lambda _, shard: "dispatcher",
    PipelineRegistered: lambda fact, shard: f"pipeline/{fact.pipeline}",
    BatchOpened: lambda fact, shard: f"batch/{fact.batch_id}",
    JobOpened: lambda fact, shard: f"job/{fact.job_id}",
}
