"""Which ledger process serves which shard, as a function of ticks alone."""

from __future__ import annotations

import pytest

from execution_ledger.ledger.placement import Placement
from execution_ledger.messages.heartbeats import LedgerTick


def test_a_shard_that_a_process_refuses_goes_to_another_one() -> None:
    placement = Placement("me", absent_after_ms=4_000)
    placement.observe(LedgerTick(process="other", refused=[0, 1, 2, 3]), 1_000)
    placement.observe(LedgerTick(process="me"), 1_000)
    assert placement.mine(4) == {0, 1, 2, 3}
    placement.observe(LedgerTick(process="me", refused=[2]), 2_000)
    assert placement.mine(4) == {0, 1, 3}


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
def test_every_shard_is_placed_on_exactly_one_present_process(processes: int) -> None:
    names = [f"ledger-{number}" for number in range(processes)]
    placements = [Placement(name, absent_after_ms=4_000) for name in names]
    for placement in placements:
        for name in names:
            placement.observe(LedgerTick(process=name), 10_000)
    placed = [shard for placement in placements for shard in placement.mine(16)]
    assert sorted(placed) == list(range(16))


def test_only_a_silence_in_which_others_may_have_taken_shards_is_told() -> None:
    placement = Placement("me", absent_after_ms=4_000)
    ticks = [("me", 1_000), ("other", 4_000), ("me", 5_000), ("other", 9_000), ("me", 9_001), ("other", 20_000)]
    told = [placement.observe(LedgerTick(process=process), at_ms) for process, at_ms in ticks]
    assert told == [False, False, False, False, True, False]


def test_a_process_that_has_not_ticked_for_long_gets_no_shards() -> None:
    placement = Placement("me", absent_after_ms=4_000)
    assert placement.mine(16) == set()
    placement.observe(LedgerTick(process="other"), 1_000)
    placement.observe(LedgerTick(process="me"), 5_000)
    assert placement.mine(16) != set(range(16))
    placement.observe(LedgerTick(process="me"), 5_001)
    assert placement.mine(16) == set(range(16))
    placement.observe(LedgerTick(process="other"), 5_002)
    placement.observe(LedgerTick(process="other", leaving=True), 5_003)
    assert placement.mine(16) == set(range(16))
