"""A batch: opened before any of its children, so that whoever repeats it completes the same one."""

from __future__ import annotations

from execution_ledger.messages.commands import OpenBatch
from execution_ledger.messages.events import BatchOpened, Fact

BATCH_AGE_MAX_MS = 86_400_000  # how long a batch can be completed after it was opened


def open_batch(command: OpenBatch) -> list[Fact]:
    return [
        BatchOpened(
            batch_id=command.batch_id,
            count=command.count,
            opened=command.opened,
            versions=command.versions,
            body_digest=command.body_digest,
            keyed=command.keyed,
            link=command.link,
        )
    ]
