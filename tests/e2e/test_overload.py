"""The overload trial for some seconds; `tests/torture/overload.py` is the one for a whole minute."""

from __future__ import annotations

from pathlib import Path

from torture.board import show
from torture.promises import check
from torture.trial import overload, started

LOAD_S = 10.0


async def test_ten_times_more_than_can_be_decided_loses_nothing_and_lets_all_else_through(tmp_path: Path) -> None:
    with started(tmp_path) as dev:
        outcome = await overload(dev, tmp_path, LOAD_S)
        show(outcome)
        check(outcome)
