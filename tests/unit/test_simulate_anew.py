"""Dispatchers that are started anew while much waits: what they forget of their snapshot is found out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from execution_ledger.dispatcher.board import Board, Execution
from execution_ledger.dispatcher.folded import Folded
from execution_ledger.dispatcher.picture import Picture
from execution_ledger.trials.simulate.calm import EVERY
from execution_ledger.trials.simulate.plan import Plan
from execution_ledger.trials.simulate.run import ANEW_AT, run

PLAN = Plan(seed=EVERY + ANEW_AT, snapshots=True, faults=[], asks=[])


def restored(change: Callable[[Folded], Folded]) -> Callable[[Picture, Folded], None]:
    real = Picture.restore
    return lambda picture, folded: real(picture, change(folded))


def without(**fields: object) -> Callable[[Folded], Folded]:
    """Of every execution."""

    def change(folded: Folded) -> Folded:
        kept: dict[str, Execution] = {one: replace(it, **fields) for one, it in folded.executions.items()}  # type: ignore[arg-type] # as each is declared
        return replace(folded, executions=kept)

    return change


def only_the_board(self: Picture, folded: Folded) -> None:
    for execution in folded.executions.values():
        self.board.restore(execution)


FORGOTTEN = {
    "what waits, and places": (Picture, "restore", only_the_board),
    "limits": (Picture, "restore", restored(lambda folded: replace(folded, limits={}))),
    "timeouts": (Picture, "restore", restored(without(timeout_at=None))),
    "time in the queue": (Picture, "restore", restored(without(expires_at=None))),
    "backoffs": (Picture, "restore", restored(without(not_before=None))),
    "who is first of a business id": (Board, "ahead", lambda board, execution: None),
}


def test_nothing_is_forgotten_by_a_new_start() -> None:
    result = run(PLAN)
    assert result.breaches == []
    assert result.executions == 11


@pytest.mark.parametrize("what", FORGOTTEN)
def test_what_is_forgotten_by_a_new_start_is_found_out(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*FORGOTTEN[what])
    assert run(PLAN).breaches != []
