"""Pipelines of steps as people declare them: what is in the definition, and what is refused, with file and line."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from execution_ledger.errors import BadRequest
from execution_ledger.messages.definition import Port
from execution_ledger.messages.steps import STEPS_MAX
from execution_ledger.sdk.attempt.context import Context
from execution_ledger.sdk.pipelines.app import collect, with_origins
from execution_ledger.sdk.pipelines.pipeline import Declaration, Pipeline, pipeline
from execution_ledger.sdk.pipelines.steps import Step

HERE = __file__


def declared(**options: Any) -> Declaration:
    made = pipeline("train", **{"inputs": {"days": "number"}, **options})
    assert isinstance(made, Declaration)
    return made


def whole(made: Declaration) -> Pipeline:
    found = made.whole()
    assert found
    return found


def nothing(ctx: Context) -> None: ...


def load(ctx: Context, days: float = 7) -> dict[str, Any]:
    """Reads the readings.

    All of them.
    """
    return {"rows": days * 24}


def test_the_definition_holds_the_steps_in_their_order() -> None:
    made = declared(outputs={"rmse": "number"}, limit=2, description="Learns.", retries=3)
    first = made.step(load)

    @made.step(needs=[first], retries=2, name="fit", description="By least squares.")
    async def fitted(ctx: Context, load: dict[str, Any]) -> dict[str, Any]:
        return {"rmse": load["rows"]}

    definition = whole(made).definition
    assert definition.inputs == {"days": Port(type="number", required=False, default=7)}
    assert definition.outputs == {"rmse": Port(type="number")}
    assert (definition.name, definition.limit, definition.description) == ("train", 2, "Learns.")
    assert definition.policy
    assert definition.policy.retries == 3
    assert definition.steps
    assert [(step.name, step.needs, step.retries, step.description) for step in definition.steps] == [
        ("load", [], 0, "Reads the readings."),
        ("fit", ["load"], 2, "By least squares."),
    ]
    assert definition.needs == {"load": [], "fit": ["load"]}
    assert isinstance(fitted, Step)
    assert (fitted.is_async, first.is_async, fitted.takes) == (True, False, ("load",))
    assert first(None, days=2) == {"rows": 48}


def test_one_function_has_no_steps_and_the_same_digest_as_ever() -> None:
    @pipeline("double", inputs={"n": "number"}, outputs={})
    def double(ctx: Context, n: float) -> None: ...

    assert double.definition.steps is None
    assert "steps" not in double.definition.model_dump(exclude_none=True)


def test_any_change_of_a_step_is_a_new_version() -> None:
    def versions(*changes: Callable[[Declaration], object]) -> set[str]:
        digests = set()
        for change in changes:
            made = declared(inputs=None)
            change(made)
            digests.add(whole(made).digest)
        return digests

    def other(ctx: Context) -> dict[str, Any]:
        return {}

    changes: list[Callable[[Declaration], object]] = [
        lambda made: made.step(nothing),
        lambda made: made.step(retries=1)(nothing),
        lambda made: made.step(name="other")(nothing),
        lambda made: made.step(name="nothing")(other),
        lambda made: (made.step(nothing), made.step(name="second")(nothing)),
        lambda made: (made.step(nothing), made.step(name="second", needs="nothing")(nothing)),
    ]
    assert len(versions(*changes)) == len(changes)
    assert len(versions(changes[0], changes[0])) == 1


def step(made: Declaration, function: Callable[..., Any], **options: Any) -> Step:
    return made.step(**options)(function)


@pytest.mark.parametrize(
    ("declare", "complaint"),
    [
        (lambda made: step(made, nothing, needs=["load"]), "it needs 'load', which is no step of this pipeline"),
        (lambda made: step(made, nothing, needs=["nothing"]), "it needs 'nothing', which is no step"),
        (lambda made: step(made, nothing, needs=[step(declared(), load)]), "it needs 'load', which is no step"),
        (lambda made: step(made, nothing, needs=[3]), "it needs 3, which is no step"),
        (lambda made: (step(made, load), step(made, load)), "there is a step named 'load' already"),
        (lambda made: step(made, nothing, name="days"), "'days' is an input of the pipeline"),
        (lambda made: step(made, lambda ctx, weeks: None, name="a"), "its parameter 'weeks' is neither an input"),
        (lambda made: (step(made, load), step(made, lambda ctx, load: 1, name="a")), "parameter 'load' is neither"),
        (lambda made: step(made, lambda: None, name="a"), "it takes no context"),
        (lambda made: step(made, nothing, retries=-1), "retries -1"),
        (lambda made: step(made, nothing, retries=True), "retries True"),
        (lambda made: step(made, nothing, name="two words"), "name 'two words'"),
        (lambda made: step(made, int), "it is not a function"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_step_is_refused_where_it_is_declared(
    declare: Callable[[Declaration], object], complaint: str
) -> None:
    with pytest.raises(BadRequest, match=rf"^The step .*{complaint}") as refused:
        declare(declared())
    assert HERE in str(refused.value) or "builtins.int" in str(refused.value)


def test_no_more_steps_than_a_pipeline_may_have() -> None:
    made = declared()
    for number in range(STEPS_MAX):
        step(made, nothing, name=f"s{number}")
    with pytest.raises(BadRequest, match="at most 100 steps"):
        step(made, nothing)


@pytest.mark.parametrize(
    ("options", "functions", "complaint"),
    [
        ({}, [nothing], "the input 'days' is a parameter of none of its steps"),
        ({}, [load, lambda ctx, days=8: None], "its steps a, b give 'days' different defaults"),
        ({"delivery": "at_most_once"}, [load], "leave out the retries of a"),
        ({"outputs": {"n": "text"}}, [load], "'text' is not a type for 'n'"),
    ],
)
def test_what_cannot_be_a_pipeline_names_its_first_step(
    options: dict[str, Any], functions: list[Callable[..., Any]], complaint: str
) -> None:
    made = declared(**options)
    for name, function in zip("ab", functions, strict=False):
        step(made, function, name=name, retries=1)
    line = inspect.getsourcelines(functions[0])[1]
    with pytest.raises(BadRequest, match=complaint) as refused:
        made.whole()
    assert f"{HERE}, line {line}" in str(refused.value)


def test_a_pipeline_of_steps_needs_a_name_and_code() -> None:
    with pytest.raises(BadRequest, match="has no code"):
        declared().whole()
    nameless = pipeline(inputs={})
    step(nameless, nothing)
    with pytest.raises(BadRequest, match="needs a name"):
        nameless.whole()
    with pytest.raises(BadRequest, match="has steps already"):
        nameless(nothing)


def test_a_step_that_takes_everything_gets_all_inputs_and_what_it_needs() -> None:
    made = declared()
    first = step(made, load)
    assert step(made, lambda ctx, **given: None, name="all", needs=[first]).takes == ("days", "load")
    assert step(made, lambda ctx, *, load, tone="low": None, name="some", needs=first).takes == ("load",)


def test_an_app_offers_its_pipelines_of_steps() -> None:
    module = ModuleType("an_app")
    made = declared()
    made.step(load)
    on_a_function = pipeline("other")
    module.__dict__.update(train=made, alias=made, other=on_a_function(nothing), unused=on_a_function)
    assert list(collect(module)) == ["train", "other"]
    module.__dict__["again"] = twin = declared()
    twin.step(load)
    with pytest.raises(BadRequest, match="has two pipelines named 'train'"):
        collect(module)


def test_where_code_comes_from_is_said_of_each_step_or_of_the_one_function() -> None:
    made = declared()
    made.step(load)
    steps, alone = whole(made), pipeline(nothing)
    assert (steps.steps[0].origin, alone.origin) == (None, None)
    found = with_origins({"train": steps, "nothing": alone})
    [step] = found["train"].steps
    assert found["train"].origin is None
    for origin in (step.origin, found["nothing"].origin):
        assert origin
        assert origin.requirements == "pyproject.toml"
    digests = {name: each.digest for name, each in found.items()}
    assert digests == {"train": steps.digest, "nothing": alone.digest}
