"""What the simulator judges beside the log: where executions are sent, and what code is given and gives back."""

from __future__ import annotations

import pytest

from contract.events_builder import History
from execution_ledger.messages.events import Completed, Dispatched, Event, Fact, Failed, Requeued
from execution_ledger.messages.parts import Failure, PipelineRef, Policy
from execution_ledger.messages.payload import json_payload
from execution_ledger.trials.simulate.callers import Heard
from execution_ledger.trials.simulate.given import check_given
from execution_ledger.trials.simulate.loop import Life
from execution_ledger.trials.simulate.pipelines import Entry, Witness
from execution_ledger.trials.simulate.places import check_places
from execution_ledger.trials.simulate.plan import Ask
from execution_ledger.verify.answers import Answer

LOST = Requeued(attempt=1, cause="lost")
NOT_OFFERED = Failure(kind="not_offered", message="no")
INPUTS = {"manner": "done", "seconds": 2.0}


def sent(attempt: int = 1, runner: str = "r") -> Dispatched:
    return Dispatched(attempt=attempt, runner=runner, claim=1)


def timed(history: History) -> list[tuple[float, Event]]:
    return [(float(recorded.event.sequence), recorded.event) for recorded in history.events]


def places(*lives: tuple[int, tuple[Fact, ...]], slots: int = 2, losses_max: int = 5) -> list[str]:
    """Each life by its number, its facts in the order given."""
    history = History()
    ids = {number: history.queue(policy=Policy(losses_max=losses_max)) for number in dict(lives)}
    for number, facts in lives:
        history.add(ids[number], *facts)
    return [breach.what for breach in check_places(timed(history), slots)]


def test_a_runner_gets_no_more_than_it_has_slots_for() -> None:
    first, second, third = ((number, (sent(),)) for number in range(3))
    assert places(first, second) == []
    assert places(first, second, (0, (LOST,)), third) == []
    assert places(first, second, (2, (sent(runner="other"),))) == []
    [what] = places(first, second, third)
    assert what == "Attempt 1 was sent to r, which had 2 already."


def test_what_may_have_killed_its_runner_is_sent_where_nothing_else_is() -> None:
    again = (0, (sent(), LOST, sent(2)))
    assert places(again, (1, (sent(runner="other"),)), losses_max=1) == []
    assert places(again, (1, (sent(),))) == []  # it was lost once, of five times
    for lives in ((again, (1, (sent(),))), ((1, (sent(),)), again)):
        [what] = places(*lives, losses_max=1, slots=3)
        assert "where one must be alone" in what


@pytest.mark.parametrize(
    "fact", [Failed(attempt=1, failure=NOT_OFFERED), Requeued(attempt=1, cause="infrastructure", failure=NOT_OFFERED)]
)
def test_what_a_runner_does_not_offer_is_not_sent_to_it(fact: Fact) -> None:
    [what] = places((0, (sent(), fact)))
    assert "does not offer" in what


# --- what code is given ------------------------------------------------------------------------------------------


class Stage:
    """One execution that has completed, as its code saw it, and the client that asked for it."""

    def __init__(self, outputs: float = 2.0) -> None:
        self.history, self.witness = History(), Witness({}, 1.0)
        self.id = self.history.queue(
            inputs=json_payload(INPUTS),
            pipeline=PipelineRef(name="free", version=1, digest="d"),
            twin="pump-a",
            properties=json_payload({"kw": 1}),
            command_id="submit",
        )
        self.history.add(self.id, sent(), Completed(attempt=1, outputs=json_payload({"n": outputs})))
        self.entry = Entry(self.id, 1, None, 1, "free", Life("runner-a"), 1.0, dict(INPUTS))
        self.entry.around = {"twin": "pump-a", "properties": {"kw": 1}, "mode": "production", "experiment": None}
        self.witness.entries.append(self.entry)
        self.ask = Ask(at_s=0, number=1, does="submit", seconds=2.0, count=0, twin="pump-a")

    def breaches(self) -> list[str]:
        heard = Heard(0.0, self.ask, Answer(status_code=201, command_id="submit"))
        return [breach.what for breach in check_given([heard], self.witness, timed(self.history))]


def test_what_was_asked_for_given_and_given_back_is_all_the_same() -> None:
    assert Stage().breaches() == []


@pytest.mark.parametrize(
    ("field", "value"), [("twin", None), ("properties", {}), ("mode", "experiment"), ("experiment", "season")]
)
def test_code_that_is_told_of_other_surroundings_is_named(field: str, value: object) -> None:
    stage = Stage()
    stage.entry.around[field] = value
    [what] = stage.breaches()
    assert f"begun with the {field} {value}" in what


def test_other_inputs_and_other_outputs_are_named() -> None:
    stage = Stage(outputs=1)
    stage.entry.inputs["seconds"] = 3.0
    given, back = stage.breaches()
    assert "begun with the inputs" in given
    assert "It completed with {'n': 1}" in back


@pytest.mark.parametrize("change", [{"count": 3}, {"manner": "fail"}, {"business": "north"}, {"twin": "pump-b"}])
def test_what_was_queued_for_another_request_is_named(change: dict[str, object]) -> None:
    stage = Stage()
    stage.ask = stage.ask.model_copy(update=change)
    [what] = stage.breaches()
    assert "Ask 1 was for" in what
