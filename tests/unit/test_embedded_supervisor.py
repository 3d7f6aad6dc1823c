"""How long a dead child waits for its restart, and how its end is told."""

from __future__ import annotations

import signal

from execution_ledger.embedded.supervisor import ended, restart_delay_s


def test_the_first_restart_is_at_once_and_later_ones_wait_longer_up_to_a_bound() -> None:
    delays = [restart_delay_s(deaths) for deaths in range(1, 11)]
    assert delays[:4] == [0.0, 0.1, 0.2, 0.4]
    assert delays == sorted(delays)
    assert delays[-1] == restart_delay_s(1_000_000) == 5.0


def test_an_end_is_told_in_words() -> None:
    assert ended(3) == "exit code 3"
    assert ended(-signal.SIGKILL) == "killed by SIGKILL"
