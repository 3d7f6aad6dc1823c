"""Promises 6 and 9 under churn: limits are never exceeded, what must run alone does, and in the end all has ended.

Judged by what really runs: these runners read their inbox late, die, fall silent and fence themselves.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest

from execution_ledger.dispatcher.board import LOSSES_SHARED_MAX, Token
from execution_ledger.dispatcher.desk import Orders
from execution_ledger.dispatcher.told import Telling
from execution_ledger.messages.ids import shard_of
from unit.dispatcher_stage import LEASE_MS, Cluster, Dispatcher, Fate, Runner

LIMITS = {"train": 2, "score": 1, "plot": None}
SLOTS = 3


class Working(Runner):
    """Runs code for as long as the test likes, by the rules that every runner keeps."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        super().__init__(cluster, name, SLOTS, LIMITS)
        self.code: set[Token] = set()
        self.is_mute = False
        self._known: set[Token] = set()
        self._claim = 0
        self._read = len(cluster.inbox)
        self._beat_ms = cluster.now_ms

    def beat_now(self) -> None:
        self._beat_ms = self.cluster.now_ms
        self.beat(inbox_offset=self._read)

    def fence_if_silent(self) -> None:
        """No acknowledged heartbeat for 0.7 of the lease: it stops its work by itself."""
        if self.cluster.now_ms - self._beat_ms > 0.7 * LEASE_MS:
            self.code.clear()
            self.listed.clear()

    def read_inbox(self, messages_max: int) -> None:
        for telling, claim in self.cluster.inbox[self._read : self._read + messages_max]:
            self._read += 1
            if telling.runner == self.name and claim >= self._claim:
                self._claim = claim
                for token in telling.tokens:
                    self._do(telling, token)

    def _do(self, telling: Telling, token: Token) -> None:
        if telling.kind == "start" and token not in self._known:
            self._known.add(token)
            self.code.add(token)
            self.start(token)
        elif telling.kind == "abort":
            entered = token in self.code
            self._known.add(token)
            self.code.discard(token)
            self.acknowledge_abort(token, entered=entered)
        elif telling.kind == "closed":
            self.code.discard(token)
            self.listed.pop(token, None)

    def finish_one(self, chance: random.Random) -> None:
        if self.code:
            token = chance.choice(sorted(self.code))
            self.code.discard(token)
            chance.choice([self.complete, self.fail])(token)


class Churn:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.cluster = Cluster()
        self.pipeline_of: dict[str, str] = {}
        self.made = 0
        self.runners = [self.new_runner(), self.new_runner()]
        self.dispatcher = self.zombie = self.new_dispatcher()
        self.zombie_orders = Orders()

    def new_runner(self) -> Working:
        self.made += 1
        return Working(self.cluster, f"r{self.made}")

    def new_dispatcher(self) -> Dispatcher:
        self.made += 1
        dispatcher = Dispatcher(self.cluster, f"d{self.made}")
        dispatcher.fate = self.fate
        return dispatcher

    def fate(self) -> Fate:
        return "sent" if self.chance.random() < 0.9 else self.chance.choice(["lost", "unknown"])

    def step(self) -> None:
        self.cluster.now_ms += 250
        chance, runner = self.chance, self.chance.choice(self.runners)
        match chance.randrange(100):
            case n if n < 30:
                pipeline = chance.choice(list(LIMITS))
                shard, limit = chance.choice([1, 2]), LIMITS[pipeline]
                self.pipeline_of[self.cluster.submit(pipeline, chance.randrange(2), limit, shard)] = pipeline
            case n if n < 60:
                runner.finish_one(chance)
            case n if n < 66 and self.pipeline_of:
                ask = chance.choice([self.cluster.abort, self.cluster.force_abort])
                ask(chance.choice(list(self.pipeline_of)))
            case n if n < 69:
                ledger = chance.choice(self.cluster.ledgers[1:])
                ledger.is_away = not ledger.is_away
            case 69:
                self.runners[self.runners.index(runner)] = self.new_runner()
            case 70:
                self.zombie, self.zombie_orders = self.dispatcher, self.dispatcher.desk.turn()
                self.dispatcher = self.new_dispatcher()
            case 71:
                self.zombie.send(self.zombie_orders)
                self.zombie.work()
            case 72:
                runner.is_mute = not runner.is_mute
            case 73:
                self.cluster.now_ms += chance.choice([3_000, 15_000, 30_000])
        self.move()

    def move(self) -> None:
        for runner in self.runners:
            runner.fence_if_silent()
            runner.read_inbox(self.chance.randrange(4))
            if not runner.is_mute and self.chance.random() < 0.15:
                runner.beat_now()
        self.dispatcher.tick(250)
        self.check()

    def check(self) -> None:
        running = Counter(self.pipeline_of[token.execution_id] for one in self.runners for token in one.code)
        assert all(limit is None or running[pipeline] <= limit for pipeline, limit in LIMITS.items()), running
        assert all(len(runner.code) <= SLOTS for runner in self.runners)
        for runner in self.runners:
            if any(self.losses(token) >= LOSSES_SHARED_MAX for token in runner.code):
                assert len(runner.code) == 1, "what was lost so often has no neighbours"

    def losses(self, token: Token) -> int:
        """Those before this attempt; of one that is over they no longer matter."""
        tracked = self.cluster.ledgers[shard_of(token.execution_id)].state.tracked(token.execution_id)
        return tracked.execution.losses if tracked and tracked.execution.attempt == token.attempt else 0

    def heal(self) -> int:
        """Nothing fails any more. Returns how many seconds it took until all had ended."""
        self.dispatcher.fate = lambda: "sent"
        for ledger in self.cluster.ledgers:
            ledger.is_away = False
        for second in range(600):
            for runner in self.runners:
                runner.read_inbox(1_000)
                runner.finish_one(self.chance)
                if second % 2 == 0:
                    runner.beat_now()
            self.cluster.decide()
            self.dispatcher.tick()
            self.check()
            if not any(ledger.state.live for ledger in self.cluster.ledgers):
                return second
        raise AssertionError("some executions never end")


@pytest.mark.parametrize("seed", range(20))
def test_limits_hold_and_everything_ends(seed: int) -> None:
    churn = Churn(seed)
    for _ in range(400):
        churn.step()
    assert churn.heal() < 300
    slots = churn.dispatcher.desk.picture.slots
    for _ in range(2 * LEASE_MS // 1_000):
        for runner in churn.runners:
            runner.read_inbox(1_000)
            runner.beat_now()
        churn.dispatcher.tick()
    assert not [runner for runner in churn.runners if slots.used_by(runner.name)], "no place is taken for nothing"
