"""Code that kills its runner: it fails by its own losses, and whoever happens to run beside it does not.

The ledger and the dispatcher are real; the machines here run one runner process after another, as supervisors do.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest

from execution_ledger.dispatcher.board import LOSSES_SHARED_MAX, Token
from execution_ledger.dispatcher.explain import explain
from execution_ledger.dispatcher.fleet import Room, Seats
from execution_ledger.dispatcher.overview import queue_report
from execution_ledger.dispatcher.queue import Group
from execution_ledger.messages.events import Completed, Event, Failed, Requeued
from execution_ledger.messages.explanation import Explanation
from unit.dispatcher_stage import LEASE_MS, Cluster, Dispatcher, Runner, acting

BACK_AFTER_S = 2
LEASE_S = LEASE_MS // 1_000


class Machine:
    """`seconds` says how long each execution takes; a poisonous one then ends the process, and all that runs in it."""

    def __init__(self, cluster: Cluster, name: str, slots: int, seconds: dict[str, int], poison: set[str]) -> None:
        self.cluster, self.name, self.slots = cluster, name, slots
        self.seconds, self.poison = seconds, poison
        self.left: dict[Token, int] = {}
        self.deaths: list[set[str]] = []  # who was on it each time
        self._begin()

    def second(self) -> None:
        if self.back_in:
            self.back_in -= 1
            if not self.back_in:
                self._begin()
            return
        self._read_inbox()
        self.left = {token: left - 1 for token, left in self.left.items()}
        for token in [token for token, left in self.left.items() if left <= 0]:
            self._end(token)
        if not self.back_in and self.cluster.now_ms // 1_000 % 2 == 0:
            self.runner.beat()

    def die(self) -> None:
        self.deaths.append({token.execution_id for token in self.left})
        self.left.clear()
        self.back_in = BACK_AFTER_S

    def _begin(self) -> None:
        self.back_in = 0
        self.runner = Runner(self.cluster, f"{self.name}-{len(self.deaths)}", self.slots)
        self._read = len(self.cluster.inbox)
        self.runner.beat()

    def _read_inbox(self) -> None:
        messages, self._read = self.cluster.inbox[self._read :], len(self.cluster.inbox)
        for telling, _ in messages:
            for token in telling.tokens if telling.runner == self.runner.name else ():
                if telling.kind == "start" and token not in self.runner.listed:
                    self.left[token] = self.seconds[token.execution_id]
                    self.runner.start(token)
                elif telling.kind == "closed":
                    self.runner.listed.pop(token, None)

    def _end(self, token: Token) -> None:
        if token.execution_id in self.poison:
            self.die()
        elif self.left.pop(token, None) is not None:
            self.runner.complete(token)


class Neighbourhood:
    def __init__(self, machines: int, slots: int = 4) -> None:
        self.cluster = Cluster()
        self.seconds: dict[str, int] = {}
        self.poison: set[str] = set()
        self.machines = [
            Machine(self.cluster, f"m{number}", slots, self.seconds, self.poison) for number in range(machines)
        ]
        self.dispatcher: Dispatcher = acting(self.cluster)

    def submit(self, seconds: int, losses_max: int = 3, is_poison: bool = False, priority: int = 0) -> str:
        shard = 1 + len(self.seconds) % 2
        execution_id = self.cluster.submit(priority=priority, losses_max=losses_max, shard=shard)
        self.seconds[execution_id] = seconds
        if is_poison:
            self.poison.add(execution_id)
        return execution_id

    def pass_seconds(self, seconds: int) -> None:
        for _ in range(seconds):
            for machine in self.machines:
                machine.second()
            self.dispatcher.tick()

    def run_until_all_ended(self, seconds_max: int) -> int:
        for second in range(seconds_max):
            if not any(ledger.state.live for ledger in self.cluster.ledgers):
                return second
            self.pass_seconds(1)
        raise AssertionError("some executions never end")

    def history(self) -> list[Event]:
        return [event for ledger in self.cluster.ledgers for event in ledger.history]

    def ended_as(self, kind: type[Completed | Failed]) -> set[str]:
        return {event.subject for event in self.history() if isinstance(event.data, kind)}

    def losses(self) -> Counter[str]:
        return Counter(event.subject for event in self.history() if isinstance(event.data, Requeued))

    def open_and_full(self) -> int:
        """How many machines take all kinds of work, and have as much of it as they can."""
        desk = self.dispatcher.desk
        slots, running = desk.picture.slots, {machine.runner.name: machine.slots for machine in self.machines}
        is_open = [name for name in running if not (name in desk.kept_back or slots.is_alone(name))]
        return sum(slots.used_by(name) == running[name] for name in is_open)

    def explained(self, execution_id: str) -> Explanation:
        found = explain(self.dispatcher.desk, execution_id)
        assert found
        return found

    def where(self, execution_id: str) -> Machine | None:
        held = (machine for machine in self.machines for token in machine.left if token.execution_id == execution_id)
        return next(held, None)


@pytest.mark.parametrize("losses_max", [1, 2, 3, 10])
@pytest.mark.parametrize("machines", [1, 2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_poison_fails_and_no_innocent_does(seed: int, machines: int, losses_max: int) -> None:
    chance = random.Random(seed)
    here = Neighbourhood(machines)
    for _ in range(40):
        is_poison = chance.random() < 0.25
        here.submit(chance.randrange(1, 8), losses_max, is_poison)
        here.pass_seconds(chance.choice([0, 0, 0, 1, 5]))
    here.run_until_all_ended(40 * (losses_max + 1) * LEASE_S)
    assert here.ended_as(Failed) == here.poison
    assert here.ended_as(Completed) == here.seconds.keys() - here.poison
    losses = here.losses()
    assert all(losses[each] == losses_max for each in here.poison)
    assert all(losses[each] <= min(LOSSES_SHARED_MAX, losses_max) for each in here.ended_as(Completed))


def test_poison_takes_neighbours_along_twice_and_then_dies_alone() -> None:
    here = Neighbourhood(machines=1)
    poison = here.submit(3, is_poison=True)
    others = {here.submit(90) for _ in range(2)}
    here.run_until_all_ended(600)
    assert here.machines[0].deaths == [{poison, *others}, {poison, *others}, {poison}, {poison}]
    assert here.ended_as(Completed) == others


def test_a_lost_machine_is_tried_again_at_once_and_side_by_side() -> None:
    here = Neighbourhood(machines=2, slots=10)
    ids = [here.submit(60) for _ in range(10)]
    here.pass_seconds(5)
    here.machines[0].die()
    here.pass_seconds(LEASE_S + 6)
    assert sum(here.losses().values()) == 5
    assert sum(len(machine.left) for machine in here.machines) == len(ids)
    here.run_until_all_ended(90)
    assert here.ended_as(Completed) == set(ids)


def lost_twice(here: Neighbourhood, seconds: int, count: int = 1) -> list[str]:
    """Some that wait for their third attempt. No machine is back: `return_all` says when."""
    ids = [here.submit(seconds) for _ in range(count)]
    for losses in (1, 2):
        here.pass_seconds(BACK_AFTER_S + 3)
        for machine in here.machines:
            machine.die()
            machine.back_in = LEASE_S + BACK_AFTER_S
        here.pass_seconds(LEASE_S + 1)
        assert all(here.losses()[each] == losses for each in ids)
    return ids


def names(here: Neighbourhood, execution_ids: list[str]) -> list[set[str]]:
    """Who is beside each, itself included."""
    machines = [here.where(each) for each in execution_ids]
    return [{token.execution_id for token in machine.left} if machine else set() for machine in machines]


def test_it_has_a_runner_for_itself_until_it_ends() -> None:
    here = Neighbourhood(machines=2)
    [alone] = lost_twice(here, seconds=40)
    here.pass_seconds(5)
    others = [here.submit(10) for _ in range(6)]
    for _ in range(5):
        here.pass_seconds(1)
        assert names(here, [alone]) == [{alone}]
    assert sum(map(bool, names(here, others))) == 4, "the other runner is full"
    here.run_until_all_ended(60)
    assert here.ended_as(Completed) == {alone, *others}


def test_a_busy_fleet_makes_room_on_one_runner_at_a_time_and_all_others_stay_full() -> None:
    here = Neighbourhood(machines=3)
    waiting = lost_twice(here, seconds=10, count=3)
    urgent = [here.submit(10 + number, priority=1) for number in range(12)]
    others = [here.submit(10 + number % 7) for number in range(80)]
    here.pass_seconds(6)
    assert all(names(here, urgent)), "what is more urgent goes first, and leaves no runner empty"
    while not set(waiting) <= here.ended_as(Completed):
        here.pass_seconds(1)
        beside = list(filter(None, names(here, waiting)))
        assert [len(each) for each in beside] in ([], [1]), "one at a time, and alone"
        assert here.open_and_full() >= 2
    here.run_until_all_ended(200)
    assert here.ended_as(Completed) == {*waiting, *urgent, *others}


def test_the_smallest_empty_runner_is_taken_and_never_more_than_half_of_them() -> None:
    ready = {f"r{slots}": Seats(slots, used=0, closed=False) for slots in (8, 2, 4, 16)}
    room = Room(ready, {("default", "d"): ready.keys()})
    alone = Group(1, "default", "train", "d", alone=True)
    for expected in ("r2", "r4"):
        assert room.best_for(alone) == expected
        room.take(expected, alone)
    assert room.best_for(alone) is None
    room.keep_back(alone)
    assert (room.kept_back, room.free) == (set(), 24)


def test_the_runner_with_the_least_to_end_is_kept_back() -> None:
    ready = {"r1": Seats(4, used=3, closed=False), "r2": Seats(4, used=1, closed=False)}
    room = Room(ready, {("default", "d"): ready.keys()})
    room.keep_back(Group(1, "default", "train", "d", alone=True))
    assert room.kept_back == {"r2"}
    assert room.best_for(Group(1, "default", "train", "d")) == "r1"


def test_both_it_and_those_that_wait_because_of_it_are_told_why() -> None:
    here = Neighbourhood(machines=1)
    [alone] = lost_twice(here, seconds=10)
    here.submit(10, priority=1)
    here.pass_seconds(3)
    behind = here.submit(1)
    here.pass_seconds(1)
    [why] = here.explained(alone).reasons
    assert (why.code, why.text) == (
        "runs_alone",
        "Its runner was lost twice, so it runs alone: it waits for one with nothing on it. "
        "m0-2 is given nothing else until then.",
    )
    assert why.next
    assert why.next.endswith(f"or end it: exledger abort {here.explained(alone).name}")
    [why] = here.explained(behind).reasons
    assert (why.code, why.text) == (
        "slots_taken",
        "No slot of the runners that offer it is free. "
        "Nothing else is given to m0-2: one whose runner was lost before runs alone.",
    )
    [line] = queue_report(here.dispatcher.desk).items
    assert (line.waiting, line.runners.slots, line.runners.free) == (2, 4, 0)
    while not names(here, [alone])[0]:
        here.pass_seconds(1)
    assert here.explained(behind).reasons == [why]
