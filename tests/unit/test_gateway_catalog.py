"""What runs get from the catalog, through a gateway: twins' values, experiments, refusals before anything exists."""

from __future__ import annotations

from typing import Any

import pytest

from execution_ledger.gateway.writes.again import Ended
from execution_ledger.gateway.writes.requests import OptionsRequest, RerunRequest, RetryRequest
from execution_ledger.messages.catalog import Entry, Experiment, Template, Twin
from execution_ledger.messages.definition import Definition, Port
from execution_ledger.messages.parts import Options, Status
from unit.gateway_stage import DOUBLE, Stage, double, on_stage, problem_of

PUMP = Template(
    properties={
        "rated_kw": Port(type="number", min=0),
        "site": Port(type="string", required=False, default="north"),
        "note": Port(type="json", required=False),
    }
)
ON_PUMPS = DOUBLE.model_copy(update={"name": "on_pumps", "template": "pump"})


async def enter(stage: Stage, **entries: Entry) -> None:
    for key, entry in entries.items():
        await stage.callers.catalog.entry(key.replace("_", "-"), entry, "ada")


async def with_pumps(stage: Stage) -> None:
    await stage.callers.catalog.pipeline(ON_PUMPS, "ada")
    await enter(stage, pump=PUMP, valve=Template(), winter=Experiment(name="Winter"))
    await enter(stage, pump_1=Twin(template="pump", values={"rated_kw": 7.5}), valve_1=Twin(template="valve"))


async def fields(stage: Stage, **more: Any) -> dict[str, str]:
    """What is wrong, by field; and nothing was queued."""
    before = len(await stage.queued())
    problem = await problem_of(stage.submit(**more))
    assert problem.kind == "invalid-request"
    assert len(await stage.queued()) == before
    return {error.field: error.detail for error in problem.errors}


def test_a_run_on_a_twin_gets_its_values_resolved_and_frozen() -> None:
    async def scenario(stage: Stage) -> None:
        await with_pumps(stage)
        await stage.submit(twin="pump-1", pipeline="on_pumps", properties={"site": "south", "days": 7})
        await enter(stage, pump_1=Twin(template="pump", values={"rated_kw": 8}))
        await stage.submit(twin="pump-1")
        first, second = sorted((event.data for event in await stage.queued()), key=lambda fact: fact.number)
        if first.pipeline.name != "on_pumps":
            first, second = second, first
        assert first.properties.value() == {"rated_kw": 7.5, "site": "south", "note": None, "days": 7}
        assert (first.twin, first.template, first.own_properties) == ("pump-1", "pump", ["days", "site"])
        assert second.properties.value() == {"rated_kw": 8, "site": "north", "note": None}
        assert second.own_properties == []

    on_stage(scenario)


def test_without_a_template_properties_are_the_callers_alone() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.submit(twin="pump-7", properties={"days": 7})
        await stage.submit()
        facts = [event.data for event in await stage.queued()]
        assert {fact.twin: fact.properties and fact.properties.value() for fact in facts} == {
            "pump-7": {"days": 7},
            None: None,
        }
        assert [(fact.template, fact.own_properties) for fact in facts] == [(None, None)] * 2

    on_stage(scenario)


def test_what_is_not_registered_is_refused_with_the_next_step() -> None:
    async def scenario(stage: Stage) -> None:
        await with_pumps(stage)
        assert await fields(stage, twin="pump-77") == {
            "twin": "no twin 'pump-77' is registered. Did you mean pump-7 or pump-8 or pump-1? Else register it: "
            "exledger twins add pump-77, or PUT /v1/twins/pump-77"
        }
        assert "PUT /v1/experiments/x" in (await fields(stage, mode="experiment", experiment="x"))["experiment"]
        assert await fields(stage, experiment="winter") == {"experiment": 'is for mode "experiment" alone'}
        assert await fields(stage, pipeline="on_pumps") == {
            "twin": "is required: on_pumps runs on twins of template pump"
        }
        assert "is on template valve" in (await fields(stage, pipeline="on_pumps", twin="valve-1"))["twin"]
        assert "is on no template" in (await fields(stage, pipeline="on_pumps", twin="pump-7"))["twin"]
        assert await fields(stage, twin="pump-1", properties={"rated_kw": "7"}) == {
            "properties.rated_kw": "must be a number, not a string"
        }
        await stage.callers.catalog.remove_twin("pump-1", "ada")
        assert "PUT /v1/twins/pump-1" in (await fields(stage, twin="pump-1"))["twin"]

    on_stage(scenario)


def test_a_twin_that_was_registered_elsewhere_a_moment_ago_is_known() -> None:
    async def scenario(stage: Stage) -> None:
        async with stage.another_gateway() as other:
            await other.catalog.entry("pump-9", Twin(), "ada")
            await stage.submit(twin="pump-9")
            await other.catalog.entry("pump", PUMP, "ada")
            await stage.callers.catalog.entry("pump-9", Twin(template="pump", values={"rated_kw": 1}), "ada")

    on_stage(scenario)


def test_values_that_do_not_fit_name_their_fields() -> None:
    async def scenario(stage: Stage) -> None:
        await with_pumps(stage)
        before = len(await stage.history())
        bad = Twin(template="pump", values={"rated_kw": -1, "colour": "red"})
        problem = await problem_of(stage.callers.catalog.entry("pump-1", bad, "ada"))
        assert {error.field for error in problem.errors} == {"values.rated_kw", "values.colour"}
        broken = PUMP.model_copy(update={"properties": {"rated_kw": Port(type="string")}})
        problem = await problem_of(stage.callers.catalog.entry("pump", broken, "ada"))
        assert [error.field for error in problem.errors] == ["properties"]
        assert "pump-1 (rated_kw must be a string, not a number)" in problem.errors[0].detail
        large = Template(properties={"note": Port(type="json")})
        await stage.callers.catalog.entry("large", large, "ada")
        before += 1
        problem = await problem_of(
            stage.callers.catalog.entry("pump-1", Twin(template="large", values={"note": "x" * 60_000}), "ada")
        )
        assert [error.field for error in problem.errors] == ["values"]
        assert len(await stage.history()) == before

    on_stage(scenario)


def test_a_batch_is_checked_whole_one_twin_each() -> None:
    async def scenario(stage: Stage) -> None:
        await with_pumps(stage)
        wanted = [double(twin=twin, pipeline="on_pumps") for twin in ("pump-1", "pump-2", "valve-1")]
        problem = await problem_of(stage.callers.open_batch(wanted, "ada"))
        assert [error.field for error in problem.errors] == ["executions[1].twin", "executions[2].twin"]
        assert await stage.queued() == []
        await enter(stage, pump_2=Twin(template="pump", values={"rated_kw": 2}))
        answer = await stage.callers.open_batch(wanted[:2], "ada")
        assert len(answer.children) == 2
        powers = {event.data.twin: event.data.properties.value()["rated_kw"] for event in await stage.queued()}
        assert powers == {"pump-1": 7.5, "pump-2": 2}

    on_stage(scenario)


def test_a_batch_repeated_after_a_twin_has_gone_is_told_of_the_first() -> None:
    """The first answer stays the answer of a key, whatever was registered or removed since."""

    async def scenario(stage: Stage) -> None:
        requests = [double(twin="pump-7"), double(twin="pump-8")]
        first = await stage.callers.open_batch(requests, "ada", "nightly")
        await stage.callers.catalog.remove_twin("pump-8", "ada")
        again = await stage.callers.open_batch(requests, "ada", "nightly")
        assert (again.batch_id, again.opened.repeated) == (first.batch_id, True)
        assert [child.execution_id for child in again.children] == [child.execution_id for child in first.children]
        assert {child.refusal.code for child in again.children if child.refusal} == {"not_any_more"}
        assert len(await stage.queued()) == 2
        changed = await problem_of(stage.callers.open_batch(requests[:1], "ada", "nightly"))
        assert changed.kind == "key-reused"

    on_stage(scenario)


def test_a_retry_keeps_the_values_of_then_and_a_rerun_takes_those_of_now() -> None:
    async def scenario(stage: Stage) -> None:
        await with_pumps(stage)
        await enter(stage, pump_2=Twin(template="pump", values={"rated_kw": 2}))
        asked = {"mode": "experiment", "experiment": "winter", "properties": {"days": 7, "site": "south"}}
        answer = await stage.submit(twin="pump-1", **asked)
        [event] = await stage.queued()
        await enter(stage, pump_1=Twin(template="pump", values={"rated_kw": 9}))
        ended = Ended(answer.subject, event.data.name, Status.FAILED, event.data)
        told = {
            "retry": await stage.callers.retry(ended, RetryRequest(), "ada"),
            "rerun": await stage.callers.rerun(ended, RerunRequest(), "ada"),
            "elsewhere": await stage.callers.rerun(ended, RerunRequest(twin="pump-2", mode="production"), "ada"),
        }
        facts = {event.subject: event.data for event in await stage.queued()}
        made = {name: facts[answer.subject] for name, answer in told.items()}
        assert {name: fact.properties.value()["rated_kw"] for name, fact in made.items()} == {
            "retry": 7.5,
            "rerun": 9,
            "elsewhere": 2,
        }
        assert {fact.properties.value()["site"] for fact in made.values()} == {"south"}
        assert [fact.experiment for fact in made.values()] == ["winter", "winter", None]
        await stage.callers.catalog.remove_twin("pump-1", "ada")
        await stage.callers.retry(ended, RetryRequest(), "ada")
        problem = await problem_of(stage.callers.rerun(ended, RerunRequest(), "ada"))
        assert [error.field for error in problem.errors] == ["twin"]

    on_stage(scenario)


@pytest.mark.parametrize(
    ("mode", "said", "wanted"),
    [
        ("production", {}, Options(train=False, plot=False, write=True)),
        ("experiment", {}, Options(train=True, plot=True, write=False)),
        ("production", {"train": True}, Options(train=True, plot=False, write=True)),
        ("experiment", {"plot": False, "write": True}, Options(train=True, plot=False, write=True)),
    ],
)
def test_each_option_of_a_mode_can_be_overruled(mode: Any, said: dict[str, Any], wanted: Options) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.submit(mode=mode, options=OptionsRequest(**said))
        await stage.callers.open_batch([double(mode=mode, options=OptionsRequest(**said))], "ada")
        assert [(event.data.mode, event.data.options) for event in await stage.queued()] == [(mode, wanted)] * 2

    on_stage(scenario)


def test_a_pipeline_may_come_before_its_template() -> None:
    async def scenario(stage: Stage) -> None:
        early = Definition(name="early", template="later", code="c")
        await stage.callers.catalog.pipeline(early, "ada")
        assert "template later" in (await fields(stage, pipeline="early", twin="pump-7"))["twin"]

    on_stage(scenario)


def test_a_default_that_names_no_file_is_refused_with_its_pipeline() -> None:
    async def scenario(stage: Stage) -> None:
        rows = {"sha256": "0" * 64, "size": 1, "media_type": "text/csv", "name": "rows.csv"}
        port = Port(type="file", required=False, default=rows)
        fit = DOUBLE.model_copy(update={"name": "fit", "inputs": {"rows": port}})
        problem = await problem_of(stage.callers.catalog.pipeline(fit, "ada"))
        assert [(error.field, error.detail.partition(":")[0]) for error in problem.errors] == [
            ("inputs.rows.default", "names a file that is not here (rows.csv)")
        ]

    on_stage(scenario)
