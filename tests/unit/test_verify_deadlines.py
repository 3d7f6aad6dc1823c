"""The checker works retries and deadlines out for itself: what was written otherwise is named."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from execution_ledger.messages.base import rfc3339
from execution_ledger.messages.commands import ExpireAttempt, ExpireQueued
from execution_ledger.messages.parts import Backoff, Policy
from execution_ledger.messages.reports import ReportFailed, ReportStarted
from unit.spec import CLAIM, NOW_MS, failure, submit
from unit.test_deciding import abort, dispatch
from unit.verify_stage import ONE, THREE, TWO, History, Keeper, check, named, said

Damage = Callable[["Retried"], object]
POLICY = Policy(retries=1, timeout_ms=5_000, backoff=Backoff(first_ms=10_000, jitter=0.5))


def retried() -> Keeper:
    """4-6 an execution that starts, 7 fails and waits, 8-9 is tried again as soon as it may, 10 times out; 11 one that
    waits, 12 expires; 13-15 one that starts, 16 fails and waits, 17-18 is aborted meanwhile."""
    ledger = Keeper()
    asked = {"actor": "d-1", "claim": CLAIM}
    ledger.do(submit(ONE, policy=POLICY), dispatch(ONE), ReportStarted(**said(ONE), ordinal=1))
    (waits,) = ledger.do(ReportFailed(**said(ONE), ordinal=2, failure=failure()))
    ledger.now_ms = waits.data.not_before
    ledger.do(dispatch(ONE, "again").model_copy(update={"attempt": 2}), ReportStarted(**said(ONE, 2), ordinal=1))
    ledger.now_ms += 5_000
    ledger.do(ExpireAttempt(command_id="late", execution_id=ONE, attempt=2, cause="timeout", **asked))
    ledger.do(submit(TWO, "submit-2", policy=Policy(queue_ttl_ms=2_000)))
    ledger.now_ms += 2_000
    ledger.do(ExpireQueued(command_id="expired", execution_id=TWO, **asked))
    ledger.do(submit(THREE, "submit-3", policy=POLICY), dispatch(THREE, "dispatch-3"))
    ledger.do(ReportStarted(**said(THREE), ordinal=1), ReportFailed(**said(THREE), ordinal=2, failure=failure()))
    ledger.do(abort(THREE, "abort-3"))
    return ledger


class Retried(History):
    def __init__(self) -> None:
        super().__init__()
        self.documents = [json.loads(raw) for raw in retried().raw]

    def policy(self, sequence: int, **fields: object) -> None:
        self.change_data(sequence, policy=self[sequence]["data"]["policy"] | fields)

    def unstart(self) -> None:
        """The last one is released by its runner before it has started, instead of failing."""
        del self.documents[14]
        self.change_data(15, cause="released")
        for field in ("not_before", "failure"):
            self[15]["data"].pop(field)
        for version, document in enumerate((it for it in self.documents if it["subject"] == THREE), 1):
            document["version"] = version
        self.number()


def test_a_history_of_retries_and_deadlines_is_whole() -> None:
    assert len(retried().raw) == 18
    assert named(check(retried().raw).breaches.kept) == []


def at_ms(after_ms: int) -> str:
    return rfc3339(NOW_MS + after_ms)


FINAL = {"kind": "user", "message": "no", "final": True}
PLACES: list[tuple[str, Damage, tuple[int, str]]] = [
    ("more retries than its policy has", lambda h: h.policy(4, retries=0), (7, ONE)),
    ("a backoff that is too short", lambda h: h.change_data(7, not_before=at_ms(4_000)), (7, ONE)),
    ("no backoff at all", lambda h: h[7]["data"].pop("not_before"), (7, ONE)),
    ("dispatched before its time", lambda h: h.change_data(7, not_before=at_ms(10_000)), (8, ONE)),
    ("a timeout that is not its policy's", lambda h: h.change_data(9, timeout_at=at_ms(1)), (9, ONE)),
    ("a time to live that is not its policy's", lambda h: h.change_data(11, policy=h[4]["data"]["policy"]), (11, TWO)),
    ("a timeout of what has none", lambda h: h.change_data(12, failure={"kind": "timeout", "message": ""}), (12, TWO)),
    ("a failure although it may be tried again", lambda h: h.policy(4, timeout_retries=1), (10, ONE)),
    ("a retry of what no retry can mend", lambda h: h.change_data(7, failure=FINAL), (7, ONE)),
    ("an abort of what ran before", lambda h: h.change_data(18, outcome="never_started"), (18, THREE)),
    ("an abort between attempts that never ran", lambda h: h.unstart(), (17, THREE)),
]


@pytest.mark.parametrize(("damage", "place"), [row[1:] for row in PLACES], ids=[row[0] for row in PLACES])
def test_one_damage_is_one_breach_and_is_named(damage: Damage, place: tuple[int, str]) -> None:
    history = Retried()
    damage(history)
    history.chain()
    sequence, execution = place
    assert [(found[2], found[3]) for found in check(history.raw()).breaches.kept] == [(sequence, execution)]
