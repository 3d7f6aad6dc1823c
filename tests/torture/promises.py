"""What must hold after an overload, with its numbers."""

from __future__ import annotations

from torture.trial import Outcome

OVERDRIVE_MIN = 10.0  # asked for, per one that can be decided: calmly, or under this load if that is more
GROWTH_MB_MAX = 40.0  # of one process, from when it is warm …
CACHE_MB = 64.0  # … beside what Postgres may fill as its shared buffers
SETTLED_S_MAX = 10.0
ABORT_P99_S_MAX = READ_P99_S_MAX = 5.0  # on a machine whose cores are all taken
LATE_S_MAX = 10.0


def check(outcome: Outcome) -> None:
    check_answers(outcome)
    check_others(outcome)
    check_nothing_lost_or_doubled(outcome)
    grown = {name: outcome.growth_mb(name) - CACHE_MB * (name == "postgres") for name in outcome.memory}
    assert max(grown.values()) < GROWTH_MB_MAX, grown
    assert outcome.settled_s < SETTLED_S_MAX


def check_answers(outcome: Outcome) -> None:
    """Refused with an advice, or accepted; nothing else."""
    decidable = max(outcome.accepted, outcome.calm_per_s * outcome.seconds)
    assert outcome.asked >= OVERDRIVE_MIN * decidable > 0
    assert outcome.unhelpful == []
    assert outcome.statuses["429"] > 0
    assert outcome.statuses.keys() <= {"200", "201", "202", "429"}


def check_others(outcome: Outcome) -> None:
    assert outcome.aborts.wrong == outcome.reads.wrong == []
    assert outcome.aborts.at(0.99) < ABORT_P99_S_MAX
    assert outcome.reads.at(0.99) < READ_P99_S_MAX
    assert max(outcome.evidence.late_s) < LATE_S_MAX


def check_nothing_lost_or_doubled(outcome: Outcome) -> None:
    found = outcome.evidence
    assert found.accepted <= found.queued.keys()
    assert len(found.queued) == len(found.accepted) + found.unnamed
    assert set(found.queued.values()) == {1}
    assert found.ended == found.queued
    assert outcome.verify_says == ""
