"""The view store in memory: for the simulator and for tests, with the meaning of the Postgres one.

Rows are dicts with the columns of the `ledger` tables, so one contract suite can compare both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from execution_ledger.errors import BrokenHistory, OutcomeUnknown
from execution_ledger.messages.parts import Status

from .changes import (
    HOT,
    LIVE_HOT,
    LIVE_IDENTITY,
    AttemptRow,
    BatchRow,
    Changes,
    Identity,
    JobRow,
    LabelRow,
    Progress,
    StoredPosition,
    relabelled,
)

Row = dict[str, Any]

_OF_THE_ATTEMPT = ("runner", "dispatched_at", "started_at", "not_before", "timeout_at")
_OF_THE_HOLD = ("held_at", "held_by", "hold_reason")
_OF_THE_REQUEST = ("abort_requested_by", "abort_reason", "abort_requested_at")


class MemoryStore:
    """`on_moved` are told (shard, sequence) after every change, as Postgres notifies."""

    def __init__(self) -> None:
        self.positions: dict[int, StoredPosition] = {}
        self.journal: dict[tuple[int, int], Row] = {}
        self.executions: dict[str, Row] = {}
        self.live_executions: dict[str, Row] = {}
        self.attempts: dict[tuple[str, int], Row] = {}
        self.steps: dict[tuple[str, int, str], Row] = {}
        self.warnings: dict[tuple[str, int], Row] = {}
        self.artifacts: dict[tuple[str, int], Row] = {}
        self.metrics: dict[tuple[str, int], Row] = {}
        self.checkpoints: dict[tuple[str, int], Row] = {}
        self.pipelines: dict[tuple[str, int], Row] = {}
        self.entries: dict[tuple[str, str, int], Row] = {}
        self.batches: dict[str, Row] = {}
        self.jobs: dict[str, Row] = {}
        self.commands: dict[tuple[str, int], Row] = {}
        self.on_moved: list[Callable[[int, int], None]] = []

    async def prepare(self) -> None:
        """There is no schema to bring up to date."""

    async def close(self) -> None:
        """Nothing is held open."""

    async def position(self, shard: int) -> StoredPosition | None:
        return self.positions.get(shard)

    async def apply(self, expected: StoredPosition | None, changes: Changes) -> None:
        shard = changes.shard
        if self.positions.get(shard) != expected:
            raise OutcomeUnknown(f"The views of shard {shard} are not where this projector left them.")
        self._refuse_doubles(changes)
        patched = [self._patched(progress) for progress in changes.patches()]
        self.positions[shard] = changes.position
        self._insert(changes)
        for row in patched:
            self._put(row)
        for label in changes.labels.values():
            self._put_label(label)
        for listener in self.on_moved:
            listener(shard, changes.position.sequence)

    def _refuse_doubles(self, changes: Changes) -> None:
        """As Postgres does, by their keys: both are opened once."""
        opened: list[BatchRow | JobRow] = [*changes.batches, *changes.jobs]
        for row in opened:
            if row.id in self.batches or row.id in self.jobs:
                raise BrokenHistory(f"{row.id}, opened in sequence {row.sequence}, is in the views already.")

    def _patched(self, progress: Progress) -> Row:
        row = self.executions.get(progress.id, {})
        if (row.get("version"), row.get("digest")) != (progress.known_version, progress.known_digest):
            raise BrokenHistory(
                f"Version {progress.version} of execution {progress.id} does not continue the one in the views. "
                "`exledger views rebuild` makes them anew."
            )
        return patched(row, progress)

    def _insert(self, changes: Changes) -> None:
        self.journal |= {(row.shard, row.sequence): row._asdict() for row in changes.journal}
        self.warnings |= {(row.execution_id, row.sequence): row._asdict() for row in changes.warnings}
        self.artifacts |= {(row.execution_id, row.sequence): row._asdict() for row in changes.artifacts}
        self.metrics |= {(row.execution_id, row.sequence): row._asdict() for row in changes.metrics}
        self.checkpoints |= {(row.execution_id, row.sequence): row._asdict() for row in changes.checkpoints}
        self.pipelines |= {(row.name, row.version): row._asdict() for row in changes.pipelines}
        self.entries |= {(row.noun, row.key, row.version): row._asdict() for row in changes.entries}
        self.batches |= {row.id: asdict(row) for row in changes.batches}
        self.jobs |= {row.id: asdict(row) for row in changes.jobs}
        for identity in changes.created.values():
            self._put(created(identity, changes.progress[identity.id]))
        for attempt in changes.attempts.values():
            self._put_attempt(attempt)
        for key, step in changes.steps.items():
            self.steps[key] = _overlaid(self.steps.get(key, {}), asdict(step))
        for command in changes.commands.values():
            self.commands.setdefault((command.command_id, command.shard), command._asdict())

    def _put(self, row: Row) -> None:
        self.executions[row["id"]] = row
        if row["ended_at"] is None:
            self.live_executions[row["id"]] = {column: row[column] for column in LIVE_IDENTITY + LIVE_HOT}
        else:
            self.live_executions.pop(row["id"], None)

    def _put_label(self, change: LabelRow) -> None:
        if row := self.executions.get(change.execution_id):
            self.executions[change.execution_id] = row | {"labels": relabelled(row["labels"], change)}

    def _put_attempt(self, attempt: AttemptRow) -> None:
        key = attempt.execution_id, attempt.attempt
        self.attempts[key] = _overlaid(self.attempts.get(key, {}), asdict(attempt))


def created(identity: Identity, progress: Progress) -> Row:
    return identity._asdict() | _hot(progress)


def patched(row: Row, progress: Progress) -> Row:
    """The same rules as the query `patch_executions`, which says why they are so."""
    change = _hot(progress)
    change["losses"] += row["losses"]
    if row["status"] == Status.ABORT_REQUESTED and progress.status == Status.STARTED:
        change["status"] = None
    if row["abort_requested_at"] is not None:
        change |= dict.fromkeys(_OF_THE_REQUEST)
    after = _overlaid(row, change)
    if progress.restarted:
        after |= {column: change[column] for column in _OF_THE_ATTEMPT}
    if progress.holding is not None:
        after |= {column: change[column] for column in _OF_THE_HOLD}
    return after


def _hot(progress: Progress) -> Row:
    return {column: getattr(progress, column) for column in HOT}


def _overlaid(row: Row, change: Row) -> Row:
    """`None` leaves a column as it is."""
    return {column: row.get(column) if value is None else value for column, value in (row | change).items()}
