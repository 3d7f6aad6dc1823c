"""Values from the command line are read by the type that the pipeline declares."""

from __future__ import annotations

import pytest

from execution_ledger.cli.terminal.inputs import parse_inputs, parse_labels, parse_value
from execution_ledger.errors import BadRequest


@pytest.mark.parametrize(
    ("text", "value"),
    [("7", 7), ("7.5", 7.5), ("true", True), ("[1, 2]", [1, 2]), ("null", None), ('"7"', "7"), ("seven", "seven")],
)
def test_a_value_is_json_where_it_is_json_and_text_elsewhere(text: str, value: object) -> None:
    assert parse_value(text, "json") == value


@pytest.mark.parametrize("text", ["7", "true", "null", '"quoted"', "", "[1]"])
def test_an_input_declared_as_a_string_is_always_the_text(text: str) -> None:
    assert parse_value(text, "string") == text


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
def test_what_only_python_takes_for_json_stays_text(text: str) -> None:
    assert parse_value(text, "number") == text


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("1e999", "too large for a number"),
        ("[" * 200_000, "nested too deeply"),
        ('[{"a": 1, "a": 2}]', "The key 'a' occurs twice"),
    ],
)
def test_json_that_no_ledger_takes_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(BadRequest, match=complaint):
        parse_value(text, "json")
    assert parse_value(text, "string") == text


def test_inputs_are_read_by_their_declared_types_and_may_hold_equals_signs() -> None:
    given = ["n=7", "code=7", "query=a=b", "unknown=7"]
    assert parse_inputs(given, {"n": "number", "code": "string", "query": "string"}) == {
        "n": 7,
        "code": "7",
        "query": "a=b",
        "unknown": 7,
    }


def test_labels_are_texts() -> None:
    assert parse_labels(["team=7", "empty="]) == {"team": "7", "empty": ""}


@pytest.mark.parametrize("pairs", [["n"], ["=7"], [""]])
def test_what_is_no_pair_is_refused_with_an_example(pairs: list[str]) -> None:
    with pytest.raises(BadRequest, match="Write -i name=value"):
        parse_inputs(pairs, {})
    with pytest.raises(BadRequest, match="Write --property name=value"):
        parse_inputs(pairs, {}, "--property")


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(BadRequest, match="'n' is given twice"):
        parse_inputs(["n=1", "n=2"], {})
