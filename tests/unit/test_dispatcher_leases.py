"""Silence is proved by own ticks, gapless and read back; nothing else expires a runner."""

from __future__ import annotations

from execution_ledger.dispatcher.leases import Leases

LEASE_MS = 20_000


def ticked(leases: Leases, *times_ms: int) -> Leases:
    for time_ms in times_ms:
        leases.tick(time_ms)
    return leases


def test_a_lease_of_ticks_after_the_heartbeat_ends_it() -> None:
    leases = ticked(Leases(LEASE_MS), 0)
    heard = leases.mark
    ticked(leases, *range(1_000, 21_000, 1_000))
    assert not leases.lapsed(heard), "20 ticks span 19 s"
    assert ticked(leases, 21_000).lapsed(heard)


def test_a_heartbeat_in_between_starts_the_count_anew() -> None:
    leases = ticked(Leases(LEASE_MS), *range(0, 15_000, 1_000))
    heard = leases.mark
    ticked(leases, *range(15_000, 35_000, 1_000))
    assert not leases.lapsed(heard)
    assert ticked(leases, 35_000).lapsed(heard)


def test_a_gap_between_ticks_starts_the_count_anew() -> None:
    leases = Leases(LEASE_MS)
    heard = leases.mark
    ticked(leases, *range(0, 20_000, 1_000))
    ticked(leases, *range(21_001, 41_000, 1_000))
    assert not leases.lapsed(heard), "2,001 ms lay between two ticks"
    assert ticked(leases, 41_001).lapsed(heard)


def test_ticks_two_seconds_apart_still_add_up() -> None:
    leases = Leases(LEASE_MS)
    heard = leases.mark
    assert ticked(leases, *range(0, 20_001, 2_000)).lapsed(heard)


def test_time_that_steps_back_is_a_gap() -> None:
    leases = Leases(LEASE_MS)
    heard = leases.mark
    ticked(leases, *range(0, 19_000, 1_000), 17_000)
    assert not ticked(leases, *range(18_000, 37_000, 1_000)).lapsed(heard)
    assert ticked(leases, 37_000).lapsed(heard)


def test_what_lapsed_before_a_gap_stays_lapsed() -> None:
    leases = Leases(LEASE_MS)
    heard = leases.mark
    ticked(leases, *range(0, 21_000, 1_000), 60_000)
    assert leases.lapsed(heard)
    assert not leases.lapsed(leases.mark)
