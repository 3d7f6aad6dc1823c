"""The overload for a whole minute: `pytest -n 0 -s tests/torture/overload.py`. Not part of a plain `pytest`."""

from __future__ import annotations

from pathlib import Path

from torture.board import show
from torture.promises import check
from torture.trial import overload, started

LOAD_S = 60.0


async def test_a_minute_of_ten_times_more_than_can_be_decided(tmp_path: Path) -> None:
    with started(tmp_path) as dev:
        outcome = await overload(dev, tmp_path, LOAD_S)
        show(outcome)
        check(outcome)
