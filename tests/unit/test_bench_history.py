"""The history of a bench is stamped, not decided; it must be what deciding would have made."""

from __future__ import annotations

import pytest

from execution_ledger.ledger.shard import fold, initial
from execution_ledger.messages.events import decode_event, digest_of
from execution_ledger.settings import LedgerSettings
from execution_ledger.trials.bench import history
from execution_ledger.trials.bench.history import Wanted, batches, beginning, decide, messages, time_ms

SHARDS = 4


def test_what_is_stamped_is_what_would_be_decided_byte_for_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "OPEN", 3)
    wanted = Wanted("bench", shard=2, shards=SHARDS, events=30 * history.EVENTS_EACH)
    decided = beginning(wanted)
    expected = [outgoing.value for outgoing in decided.outgoing]
    for number in range(30):
        decided = decide(decided, time_ms(number), messages(2, number, ends=number < 27))
        expected += [outgoing.value for outgoing in decided.outgoing]
    assert [outgoing.value for batch in batches(wanted) for outgoing in batch] == expected
    assert len(decided.state.live) == 3


@pytest.mark.parametrize("shard", range(SHARDS))
def test_every_shard_of_it_can_be_folded(shard: int) -> None:
    state = initial(shard, SHARDS, LedgerSettings())
    for batch in batches(Wanted("bench", shard, SHARDS, 2_000)):
        for outgoing in batch:
            state = fold(state, decode_event(outgoing.value), digest_of(outgoing.value))
    assert len(state.live) == (history.OPEN if shard else 0)
    assert state.claim == 1
