"""The ledgers' live states beside a fold of the log from its beginning: they must be equal after every batch.

The states are taken where the ledger has just decided a batch, by a function put around its own for a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from unittest.mock import patch

from execution_ledger.ledger import deciding, writing
from execution_ledger.ledger.recording import Cursor, Decided
from execution_ledger.ledger.shard import ShardState
from execution_ledger.log.protocol import Record
from execution_ledger.messages.events import digest_of
from execution_ledger.settings import LedgerSettings
from execution_ledger.verify.findings import Breach
from execution_ledger.verify.folds.comparing import LedgerFold
from execution_ledger.verify.log.history import Stored

from .decoded import decoded as decoded_event


class States:
    """By the digest of the newest event in each: of several that share a sequence only one was ever committed."""

    def __init__(self) -> None:
        self._held: dict[str, list[ShardState]] = {}

    @contextmanager
    def watched(self) -> Iterator[None]:
        real = deciding.decide_batch

        def decide_batch(state: ShardState, cursor: Cursor, records: Iterable[Record]) -> Decided:
            decided = real(state, cursor, records)
            if decided.outgoing:
                self._held.setdefault(digest_of(decided.outgoing[-1].value), []).append(decided.state)
            return decided

        with patch.object(writing, "decide_batch", decide_batch):
            yield

    def check(self, history: Mapping[int, Sequence[Stored]], settings: LedgerSettings) -> Iterator[Breach]:
        for shard, events in history.items():
            folded = LedgerFold(shard, len(history), settings)
            for raw, _ in events:
                event, digest = decoded_event(raw), digest_of(raw)
                was_right = not folded.wrong
                folded.follow(event, digest)
                if any(held != folded.state for held in self._held.get(digest, ())):
                    what = "The state that decided this is not the fold of the log up to it."
                    yield Breach(7, shard, event.sequence, None, what)
                if was_right and folded.wrong:
                    what = f"The fold of the log up to this differs in {', '.join(folded.wrong)}."
                    yield Breach(7, shard, event.sequence, None, what)
