"""What `@pipeline` declares, infers and refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest

from execution_ledger import Context, File, Pipeline, pipeline
from execution_ledger.errors import BadRequest
from execution_ledger.messages.definition import Definition, Port, check_inputs, check_outputs, definition_text


class Model(TypedDict):
    score: float
    labels: list[str]


class Scored(TypedDict):
    score: float | None
    days: int
    unit: NotRequired[str]


def test_bare_on_a_plain_function() -> None:
    @pipeline
    def train(context: Context, n: int, name: str = "a") -> Model:
        """Trains.

        For long.
        """
        return {"score": n, "labels": [name]}

    definition = train.definition
    assert definition.name == "train"
    assert definition.description == "Trains."
    assert definition.inputs == {
        "n": Port(type="number"),
        "name": Port(type="string", required=False, default="a"),
    }
    assert definition.outputs == {"score": Port(type="number"), "labels": Port(type="array", items="string")}
    assert not train.is_async


async def test_it_can_still_be_called() -> None:
    @pipeline
    async def add(context: Any, a: int, b: int) -> dict[str, int]:
        return {"sum": a + b}

    assert await add(None, a=1, b=2) == {"sum": 3}
    assert add.is_async


def test_declared_in_full() -> None:
    @pipeline(inputs={"n": "number"}, outputs={"n": "number"}, limit=3, name="train.fast", description="Quick.")
    async def train(context, n):  # type: ignore[no-untyped-def]
        return {"n": n}

    assert train.definition == Definition(
        name="train.fast",
        inputs={"n": Port(type="number")},
        outputs={"n": Port(type="number")},
        limit=3,
        description="Quick.",
        code=train.definition.code,
    )


def test_the_name_may_come_first() -> None:
    @pipeline("train", inputs={"n": "number"})
    def any_name(context, n=1):  # type: ignore[no-untyped-def]
        return None

    assert any_name.name == "train"
    assert any_name.definition.inputs == {"n": Port(type="number", required=False, default=1)}


def test_every_annotation_has_its_type() -> None:
    @pipeline
    def typed(
        context: Context,
        i: int,
        f: float,
        s: str,
        b: bool,
        a: list[int],
        d: dict[str, int],
        any_: Any,
        choice: Literal["x", "y"],
        both: int | float,
        either: int | str,
        maybe: str | None = None,
        *,
        only: bool = True,
    ) -> None: ...

    assert {name: port.type for name, port in typed.definition.inputs.items()} == {
        "i": "number",
        "f": "number",
        "s": "string",
        "b": "boolean",
        "a": "array",
        "d": "json",
        "any_": "json",
        "choice": "string",
        "both": "number",
        "either": "json",
        "maybe": "string",
        "only": "boolean",
    }
    assert check_inputs(typed.definition, {})[1].keys() >= {"i", "s"}
    assert not typed.definition.inputs["maybe"].required


def test_annotations_narrow_what_an_input_may_be() -> None:
    @pipeline
    def narrow(
        context: Context,
        days: Annotated[int, {"min": 1, "max": 365, "description": "of history"}],
        sites: list[str],
        kind: Literal["fast", "full"] = "fast",
        share: Annotated[float | None, {"max": 1}] = None,
        nested: list[list[int]] = [],  # noqa: B006
    ) -> None: ...

    assert narrow.definition.inputs == {
        "days": Port(type="number", min=1, max=365, description="of history"),
        "sites": Port(type="array", items="string"),
        "kind": Port(type="string", required=False, default="fast", enum=["fast", "full"]),
        "share": Port(type="number", required=False, max=1),
        "nested": Port(type="array", required=False, default=[]),
    }


def test_what_may_be_none_may_be_left_out_and_given_as_null() -> None:
    """So the inputs of a record, which hold the defaults, can be asked for again: a rerun does."""

    @pipeline
    def optional(context: Context, given: int | None, days: int | None = None, rows: File | None = None) -> None: ...

    inputs, nothing = optional.definition.inputs, {"given": None, "days": None, "rows": None}
    assert {port.required for port in inputs.values()} == {False}
    assert check_inputs(optional.definition, {}) == check_inputs(optional.definition, nothing) == (nothing, {})


def test_what_is_declared_with_a_default_is_not_required() -> None:
    @pipeline(inputs={"days": {"type": "number", "default": 7}, "rate": {"type": "number", "default": None}})
    def declared(context: Context, days: float, rate: float) -> None: ...

    values, wrong = check_inputs(declared.definition, {})
    assert (values["days"], wrong) == (7, {"rate": "is required (number)"})


def test_null_is_no_value_where_something_else_is_the_default_or_has_to_be_given() -> None:
    @pipeline
    def other(context: Context, days: int, hours: int = 7) -> None: ...

    wrong = check_inputs(other.definition, {"days": None, "hours": None})[1]
    assert wrong == {"days": "must be a number, not null", "hours": "must be a number, not null"}


def test_an_output_that_may_be_none_or_is_not_required_may_be_none() -> None:
    @pipeline
    def scored(context: Context) -> Scored:
        return {"score": None, "days": 7}

    assert check_outputs(scored.definition, {"score": None, "days": 7}) == {}
    assert check_outputs(scored.definition, {"days": 7}) == {}
    assert check_outputs(scored.definition, {"score": 1, "days": None, "unit": "kW"}) == {
        "days": "must be a number, not null"
    }


def test_what_a_class_of_outputs_says_to_be_not_required_is_read_where_annotations_are_texts() -> None:
    """Python 3.11 takes all of such a class for required where its module has `from __future__ import annotations`."""
    assert Scored.__required_keys__ == {"score", "days", "unit"}

    @pipeline
    def scored(context: Context) -> Scored:
        return {"score": 1, "days": 7}

    required = {name: port.required for name, port in scored.definition.outputs.items()}
    assert required == {"score": False, "days": True, "unit": False}


def test_a_port_may_be_spelled_out() -> None:
    @pipeline(
        inputs={"n": {"type": "number", "min": 0}},
        outputs={"kind": {"type": "string", "enum": ["a", "b"]}},
        labels={"team": "blue"},
        template="pump",
    )
    def spelled(context: Context, n: float = 1) -> dict[str, Any]:
        return {"kind": "a"}

    definition = spelled.definition
    assert definition.inputs == {"n": Port(type="number", min=0, required=False, default=1)}
    assert definition.outputs == {"kind": Port(type="string", enum=["a", "b"])}
    assert (definition.labels, definition.template) == ({"team": "blue"}, "pump")


@pytest.mark.parametrize(
    ("port", "value", "wrong"),
    [
        (Port(type="string", enum=["a", "b"]), "c", 'must be one of "a", "b"'),
        (Port(type="json", enum=[1, None]), True, "must be one of 1, null"),
        (Port(type="number", min=1, max=2), 0.5, "must be at least 1"),
        (Port(type="number", min=1, max=2), 3, "must be at most 2"),
        (Port(type="array"), "1", "must be an array, not a string"),
        (Port(type="array", items="number"), [1, 2, "3"], "[2] must be a number, not a string"),
    ],
)
def test_values_outside_of_what_is_declared(port: Port, value: Any, wrong: str) -> None:
    definition = Definition(name="p", inputs={"x": port}, outputs={"x": port}, code="c")
    assert check_inputs(definition, {"x": value})[1] == {"x": wrong}
    assert check_outputs(definition, {"x": value}) == {"x": wrong}


@pytest.mark.parametrize(
    ("port", "value"),
    [
        (Port(type="json", enum=[1, None]), None),
        (Port(type="number", min=1, max=2), 2),
        (Port(type="array", items="json"), [[], {}]),
    ],
)
def test_values_on_the_edge_of_what_is_declared(port: Port, value: Any) -> None:
    assert check_outputs(Definition(name="p", outputs={"x": port}, code="c"), {"x": value}) == {}


@pytest.mark.parametrize(
    ("port", "complaint"),
    [
        ({"type": "number", "min": 2, "max": 1}, "n.max is below min, 2"),
        ({"type": "string", "min": 2}, "n.min is for numbers, not for a string"),
        ({"type": "string", "items": "string"}, "n.items is for arrays, not for a string"),
        ({"type": "string", "enum": ["a", 1]}, "n.enum holds a value that must be a string, not a number"),
        ({"type": "number", "enum": []}, "'n' is declared wrongly"),
        ({"type": "number", "least": 1}, "'n' is declared wrongly"),
        ({"type": "nmber"}, "'nmber' is not a type for 'n'"),
        ({"min": 1}, "None is not a type for 'n'"),
    ],
)
def test_ports_that_contradict_themselves_are_refused(port: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BadRequest, match=re.escape(complaint)):

        @pipeline(inputs={"n": port})
        def wrong(context: Context, n: Any) -> None: ...


def test_a_default_has_to_be_in_range() -> None:
    with pytest.raises(BadRequest, match="the default of 'n' must be at least 1"):

        @pipeline
        def wrong(context: Context, n: Annotated[int, {"min": 1}] = 0) -> None: ...


def test_outputs_that_nothing_tells_may_be_any() -> None:
    @pipeline
    def unknown(context: Context) -> dict[str, Any]:
        return {}

    @pipeline
    def nothing(context: Context) -> None: ...

    @pipeline(outputs={})
    def declared(context: Context) -> dict[str, Any]:
        return {}

    assert [p.definition.any_outputs for p in (unknown, nothing, declared)] == [True, False, False]


def test_further_inputs_go_to_a_function_that_takes_any() -> None:
    @pipeline(inputs={"x": "number"})
    def open_to_all(context: Context, **others: Any) -> None: ...

    assert list(open_to_all.definition.inputs) == ["x"]


def test_a_changed_body_is_another_version() -> None:
    def of(source: str) -> Pipeline:
        space: dict[str, Any] = {}
        exec(source, space)
        declared: Pipeline = pipeline(space["train"])
        return declared

    one, same, other = of("def train(c): return 1"), of("def train(c): return 1"), of("def train(c): return 2")
    assert one.digest == same.digest
    assert one.digest != other.digest


def test_the_definition_survives_its_json() -> None:
    @pipeline
    def train(context: Context, config: dict[str, Any] = {"a": None, "b": [1.0]}) -> None: ...  # noqa: B006

    text = definition_text(train.definition)
    assert definition_text(Definition.model_validate(json.loads(text))) == text


def yields(context: Any) -> Any:
    yield 1


def unfit(context: Any, when: complex) -> None: ...
def unreadable(context: Any, x: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821
def unreadable_return(context: Any) -> Nowhere: ...  # type: ignore[name-defined]  # noqa: F821
def bad_default(context: Any, n: int = "x") -> None: ...  # type: ignore[assignment]
def nan_default(context: Any, n: float = float("nan")) -> None: ...
def set_default(context: Any, n: Any = frozenset()) -> None: ...
def tuple_default(context: Any, n: Any = (1, 2)) -> None: ...
def no_context() -> None: ...
def positional(context: Any, n: int, /) -> None: ...
def good(context: Any, n: int) -> None: ...
def _hidden(context: Any) -> None: ...


@pytest.mark.parametrize(
    ("declare", "function", "complaint"),
    [
        (pipeline, yields, "it yields"),
        (pipeline, unfit, "nothing fits the annotation of 'when'"),
        (pipeline, unreadable, "'Nowhere' cannot be read"),
        (pipeline, unreadable_return, "declare outputs="),
        (pipeline, bad_default, "default of 'n' must be a number"),
        (pipeline, nan_default, "default of 'n' cannot be written as JSON"),
        (pipeline, set_default, "default of 'n' cannot be written as JSON"),
        (pipeline, tuple_default, "default of 'n' changes"),
        (pipeline, no_context, "takes no context"),
        (pipeline, positional, "positional-only"),
        (pipeline, _hidden, "name '_hidden'"),
        (pipeline, len, "not a function"),
        (pipeline(inputs={"n": "int"}), good, "'int' is not a type for 'n'; use one of string, number"),  # type: ignore[dict-item]
        (pipeline(inputs={"n": "number", "m": "number"}), good, "'m' has no parameter"),
        (pipeline(inputs={}), good, "parameter 'n' is neither declared"),
        (pipeline(outputs={"n": "int"}), good, "'int' is not a type"),  # type: ignore[dict-item]
        (pipeline(name="no spaces"), good, "name 'no spaces'"),
        (pipeline(limit=0), good, "limit 0"),
    ],
)
def test_what_cannot_be_declared_is_refused_naming_the_function(
    declare: Callable[[Callable[..., Any]], Pipeline], function: Callable[..., Any], complaint: str
) -> None:
    with pytest.raises(BadRequest) as refused:
        declare(function)
    assert complaint in str(refused.value)
    assert function.__name__ in str(refused.value)


def test_a_context_that_is_only_known_to_type_checkers_is_no_matter() -> None:
    @pipeline
    def train(context: Nowhere, n: int) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    assert list(train.definition.inputs) == ["n"]
