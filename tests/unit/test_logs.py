"""Logs that cannot be written harm nobody."""

from __future__ import annotations

from execution_ledger.logs import Lossy


def test_a_full_disk_costs_lines_and_nothing_else() -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        log = Lossy(full, "utf-8", write_through=True)
        assert log.write("lost\n") == 5
        log.flush()
