"""After a night what was said before comes again: ledgers that have forgotten too much, or take it anew, show."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rpds import HashTrieMap

from execution_ledger.ledger import deciding
from execution_ledger.ledger.memory import Remembered
from execution_ledger.trials.simulate import night
from execution_ledger.trials.simulate.calm import EVERY
from execution_ledger.trials.simulate.plan import Ask, Plan
from execution_ledger.trials.simulate.run import NIGHT_AT, run
from execution_ledger.verify.findings import Breach

ASKS = [
    Ask(at_s=40, number=1, does="submit", pipeline="plain"),
    Ask(at_s=40, number=2, does="batch", pipeline="plain", count=4),
    Ask(at_s=40, number=3, does="batch", pipeline="plain", count=4, keyed=False),
]
PLAN = Plan(seed=EVERY + NIGHT_AT, faults=[], asks=ASKS)
SHORT, LONG = (80.0,), (300.0,)


def breaches(monkeypatch: pytest.MonkeyPatch, nights_s: tuple[float, ...]) -> list[Breach]:
    monkeypatch.setattr(night, "NIGHTS_S", nights_s)
    return run(PLAN).breaches


@pytest.mark.parametrize("nights_s", [SHORT, LONG])
def test_what_comes_again_after_a_night_changes_nothing(
    nights_s: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert breaches(monkeypatch, nights_s) == []


def test_a_ledger_that_forgets_too_early_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def adding(self: Remembered[Any], key: str, value: Any, now_ms: int) -> Remembered[Any]:
        if now_ms - self.since_ms < self.span_ms:
            return replace(self, recent=self.recent.insert(key, value))
        return Remembered(self.span_ms, self.entries_max, now_ms, HashTrieMap({key: value}))

    monkeypatch.setattr(Remembered, "adding", adding)
    assert breaches(monkeypatch, SHORT) != []


def test_a_ledger_that_takes_what_it_has_forgotten_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deciding, "_outside_its_time", lambda *_: None)
    assert any("was opened before" in breach.what for breach in breaches(monkeypatch, LONG))
