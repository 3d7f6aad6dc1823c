"""What the simulator judges beside the log: where executions are sent, and what code is given and gives back."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from contract.events_builder import History
from execution_ledger.dispatcher import post
from execution_ledger.dispatcher.starts import start_message
from execution_ledger.gateway.writes.jobs import Job
from execution_ledger.ledger.shard import ShardState
from execution_ledger.messages.events import (
    AbortRequested,
    Completed,
    Dispatched,
    Event,
    Fact,
    Failed,
    Requeued,
    StepChanged,
)
from execution_ledger.messages.inbox import Start
from execution_ledger.messages.parts import Failure, Link, Origin, PipelineRef, Policy
from execution_ledger.messages.payload import json_payload
from execution_ledger.trials.simulate import run as simulated
from execution_ledger.trials.simulate.callers import Heard
from execution_ledger.trials.simulate.given import check_given
from execution_ledger.trials.simulate.loop import Life
from execution_ledger.trials.simulate.pipelines import Entry, Witness
from execution_ledger.trials.simulate.places import check_places
from execution_ledger.trials.simulate.plan import Ask, Plan
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


# --- what only a whole run shows ------------------------------------------------------------------------------------


def told(*asks: Ask) -> list[str]:
    """Of a run without a calm."""
    return [breach.what for breach in simulated.run(Plan(seed=3, faults=[], asks=list(asks))).breaches]


def submitted(number: int, **more: object) -> Ask:
    return Ask.model_validate({"at_s": 6, "number": number, "does": "submit"} | more)


def test_what_may_run_once_and_begins_before_that_is_known_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknowing(*given: Any) -> Start:
        return start_message(*given).model_copy(update={"delivery": None})

    once = submitted(1, delivery="at_most_once")
    assert told(once) == []
    monkeypatch.setattr(post, "start_message", unknowing)
    [what] = told(once)
    assert "before its start was recorded" in what


def test_a_ledger_that_forgets_what_has_just_ended_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asks = submitted(1), Ask(at_s=9, number=2, does="abort", of=1)
    assert told(*asks) == []
    monkeypatch.setattr(ShardState, "tracked", lambda state, execution: state.live.get(execution))
    assert any("is unknown, which was there" in what for what in told(*asks))


def test_a_job_that_leaves_one_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asks = *(submitted(number) for number in range(3)), Ask(at_s=12, number=4, does="job", action="label", count=3)
    assert told(*asks) == []
    every = Job.targets
    monkeypatch.setattr(Job, "targets", lambda job: every(job)[1:])
    [what] = told(*asks)
    assert "has not asked all of its targets" in what


def test_a_runner_that_begins_more_than_it_has_slots_for_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asks = [submitted(number, manner="hang") for number in range(7)]
    assert told(*asks) == []
    roomy = simulated.SETTINGS.runner.model_copy(update={"slots": 4})
    monkeypatch.setattr(simulated, "SETTINGS", simulated.SETTINGS.model_copy(update={"runner": roomy}))
    assert "more than it has slots for" in told(*asks)[0]


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
        self.command_id, self.status = "submit", 201
        self.ask = Ask(at_s=0, number=1, does="submit", seconds=2.0, count=0, twin="pump-a")

    def breaches(self) -> list[str]:
        heard = Heard(0.0, self.ask, Answer(status_code=self.status, command_id=self.command_id))
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


@pytest.mark.parametrize("how", ["retry", "rerun"])
def test_what_runs_once_more_without_what_was_asked_for_is_named(how: Literal["retry", "rerun"]) -> None:
    stage = Stage()
    link = Link(how=how, to=stage.history.queue(labels={"asked": "a1"}))
    stage.history.queue(labels={"asked": "a1"}, link=link)
    assert stage.breaches() == []
    stage.history.queue(link=link)
    assert stage.breaches() == [f"It is a {how} with labels {{}}, where {{'asked': 'a1'}} was asked for before."]


def test_other_inputs_and_other_outputs_are_named() -> None:
    stage = Stage(outputs=1)
    stage.entry.inputs["seconds"] = 3.0
    given, back = stage.breaches()
    assert "begun with the inputs" in given
    assert "It completed with {'n': 1}" in back


def test_what_completes_without_its_steps_is_named() -> None:
    stage = Stage()
    again = stage.history.queue(inputs=json_payload(INPUTS), steps={"load": [], "fit": ["load"]})
    loaded = StepChanged(attempt=1, ordinal=2, step="load", status="completed", tries=1, outputs=json_payload({}))
    stage.history.add(again, sent(), loaded, Completed(attempt=1, outputs=json_payload({"n": 2.0})))
    assert stage.breaches() == ["It completed, and nothing says so of its steps fit."]


@pytest.mark.parametrize(("does", "words"), [("retry", "retry, and it was taken for rerun"), ("rerun", "")])
def test_what_was_made_from_another_in_another_way_is_named(does: str, words: str) -> None:
    stage = Stage()
    link = Link(how="rerun", to=stage.id)
    stage.history.queue(link=link, inputs=json_payload(INPUTS), twin="pump-a", command_id="again")
    stage.ask, stage.command_id = Ask.model_validate({"at_s": 0, "number": 2, "does": does}), "again"
    assert [words in what for what in stage.breaches()] == ([True] if words else [])


def test_an_abort_that_lost_its_reason_is_named() -> None:
    stage = Stage()
    stage.history.add(stage.history.queue(), AbortRequested(), commandid="abort", actor="bob", reason=None)
    stage.ask, stage.command_id = Ask(at_s=0, number=3, does="abort"), "abort"
    [what] = stage.breaches()
    assert what == "Ask 3 was for ('bob', 'enough'), and it was taken for ('bob', None)."


def test_children_of_a_batch_that_were_taken_for_one_another_are_named() -> None:
    stage = Stage()
    for ordinal, priority in enumerate([0, 2, 2]):
        stage.history.queue(origin=Origin(source="batch/b", ordinal=ordinal), priority=priority)
    [what] = stage.breaches()
    assert "It is number 1 of its batch" in what


def test_what_was_only_received_may_have_been_decided_in_another_body() -> None:
    stage = Stage()
    stage.ask, stage.status = stage.ask.model_copy(update={"count": 3}), 202
    assert stage.breaches() == []


@pytest.mark.parametrize("change", [{"count": 3}, {"manner": "fail"}, {"business": "north"}, {"twin": "pump-b"}])
def test_what_was_queued_for_another_request_is_named(change: dict[str, object]) -> None:
    stage = Stage()
    stage.ask = stage.ask.model_copy(update=change)
    [what] = stage.breaches()
    assert "Ask 1 was for" in what
