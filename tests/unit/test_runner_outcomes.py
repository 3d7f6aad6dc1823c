"""What returned values and raised errors amount to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from execution_ledger.messages.definition import Definition, Port
from execution_ledger.messages.payload import DEPTH_MAX, PAYLOAD_BYTES_MAX
from execution_ledger.runner.outcomes import Completed, Failed, of_error, of_value

DECLARED = Definition(name="train", outputs={"n": Port(type="number")}, code="c")
OPEN = Definition(name="train", any_outputs=True, code="c")
SILENT = Definition(name="train", code="c")


class Int64:
    """A number of a library, which JSON does not know."""


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def failure_of(definition: Definition, value: Any) -> tuple[str, str]:
    outcome = of_value(definition, value)
    assert isinstance(outcome, Failed)
    return outcome.failure.kind, outcome.failure.message


def raised(code: Callable[[], object]) -> Failed:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - any error at all
        code()
    return of_error(caught.value, ours=__file__)


def test_declared_outputs_complete_with_their_json() -> None:
    outcome = of_value(DECLARED, {"n": 1.5})
    assert isinstance(outcome, Completed)
    assert outcome.outputs.inline == '{"n":1.5}'


@pytest.mark.parametrize(("definition", "value"), [(SILENT, None), (SILENT, {}), (OPEN, None), (OPEN, {"any": [1]})])
def test_what_fits_the_definition_completes(definition: Definition, value: Any) -> None:
    assert isinstance(of_value(definition, value), Completed)


@pytest.mark.parametrize(
    ("definition", "value", "complaint"),
    [
        (DECLARED, {}, "n was not returned"),
        (DECLARED, {"n": 1, "m": 2}, "m is not an output of this pipeline; those are: n"),
        (DECLARED, {"n": "one"}, "n must be a number"),
        (DECLARED, 7, "returns a dict"),
        (DECLARED, None, "returns a dict"),
        (DECLARED, {"n": float("nan")}, "cannot be written as JSON"),
        (OPEN, {"x": object()}, "cannot be written as JSON"),
        (OPEN, {"x": "\ud800"}, "cannot be written as JSON"),
        (OPEN, {"a": 1, "x": [{1}], "y": object()}, "its output x cannot be written as JSON: TypeError"),
        (OPEN, {"a": 1, "y": "\ud800"}, "its output y cannot be written as JSON"),
        (OPEN, {1: 2}, "1 names an output, and is a number: names are strings"),
        (SILENT, {"n": 1}, "n is not an output: it declares none"),
        (OPEN, {"n": 1, "x": nested(300)}, "its output x is nested more than 64 levels deep"),
        (DECLARED, {"n": Int64()}, "n must be a number, not a Python Int64"),
        (OPEN, {"n": Int64()}, "Object of type Int64 is not JSON serializable. Return plain Python values"),
    ],
)
def test_outputs_that_do_not_fit_fail_in_clear_words(definition: Definition, value: Any, complaint: str) -> None:
    kind, message = failure_of(definition, value)
    assert kind == "user"
    assert complaint in message


def yields() -> Iterator[int]:
    yield 1


async def awaits() -> None: ...


class Rubbish(dict[str, Any]):
    """A value whose code is the user's."""

    def items(self) -> Any:
        raise Unreadable


@pytest.mark.parametrize("value", [b"bytes", yields(), {1, 2}, [1], "text", True, ValueError("returned"), Int64])
def test_what_is_no_dict_is_named(value: Any) -> None:
    kind, message = failure_of(OPEN, value)
    assert kind == "user"
    assert "what it declares: a pipeline returns a dict of its outputs, not a" in message


def test_a_coroutine_that_nobody_awaited_is_named() -> None:
    forgotten = awaits()
    assert "not a Python coroutine" in failure_of(OPEN, forgotten)[1]
    forgotten.close()


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(10**5_000, id="more digits than Python writes"),
        b"x",
        {1},
        yields(),
        {(1, 2): 3},
        float("inf"),
        Int64,
        1j,
        Rubbish(n=1),
        {float("nan"): 1},
    ],
)
def test_what_json_cannot_hold_fails_in_words(value: Any) -> None:
    kind, message = failure_of(OPEN, {"x": value})
    assert kind == "user"
    assert message.startswith("its output x cannot be written as JSON: ")


def test_endless_outputs_fail_instead_of_overflowing() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert "is nested more than" in failure_of(OPEN, {"x": endless})[1]


def test_outputs_may_be_as_deep_as_they_can_be_read() -> None:
    assert isinstance(of_value(OPEN, {"x": nested(DEPTH_MAX)}), Completed)
    assert isinstance(of_value(OPEN, {"x": nested(DEPTH_MAX + 1)}), Failed)


def test_outputs_may_fill_their_limit_and_not_a_byte_more() -> None:
    fitting = "x" * (PAYLOAD_BYTES_MAX - len('{"x":""}'))
    assert isinstance(of_value(OPEN, {"x": fitting}), Completed)
    kind, message = failure_of(OPEN, {"x": fitting + "x"})
    assert kind == "outputs_too_large"
    assert "60,001 bytes" in message
    assert "60,000" in message


def test_an_error_keeps_its_name_words_and_the_users_frames() -> None:
    def of_the_user() -> None:
        raise ValueError("no such column")

    failure = raised(of_the_user).failure
    assert (failure.kind, failure.message) == ("user", "ValueError: no such column")
    assert failure.traceback is not None
    assert "of_the_user" in failure.traceback
    assert "raised" not in failure.traceback.split("of_the_user")[0]


def test_a_long_traceback_keeps_its_end() -> None:
    def deep() -> None:
        raise ValueError("x" * 50_000 + "the end")

    failure = raised(deep).failure
    assert failure.message.startswith("ValueError: xxx")
    assert failure.traceback is not None
    assert failure.traceback.rstrip().endswith("the end")


class Spiteful(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Unreadable(Exception):
    def __getattribute__(self, name: str) -> Any:
        if name == "__traceback__":
            raise RuntimeError(name)
        return super().__getattribute__(name)


class Leaving(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


def a_deep_group() -> Exception:
    error: Exception = ValueError("the innermost")
    for _ in range(10_000):
        error = ExceptionGroup("group", [error])
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Unreadable(), "it raised an error that cannot be read, of <class '"),
        (SyntaxError("no", ("file", 1, 7, b"7")), "it raised an error that cannot be read"),  # type: ignore[arg-type]
        (Leaving(), "Leaving: "),
        (ValueError("x" * 10_000_000), "ValueError: xxx"),
        (ExceptionGroup("many", [ValueError("x" * 1_000_000)] * 3), "ExceptionGroup: many (3 sub-exceptions)"),
        (a_deep_group(), "ExceptionGroup: group"),
        (MemoryError(), "MemoryError: "),
        (GeneratorExit(), "GeneratorExit: "),
    ],
)
def test_whatever_is_raised_becomes_words_that_fit(error: BaseException, words: str) -> None:
    failure = of_error(error, ours=__file__).failure
    assert (failure.kind, failure.message[: len(words)]) == ("user", words)
    assert len(failure.message) <= 4_000
    assert len(failure.traceback or "") <= 16_000


def test_errors_without_readable_words_are_failures_too() -> None:
    def spiteful() -> None:
        raise Spiteful

    def unwritable() -> None:
        raise ValueError("\ud800")

    assert raised(spiteful).failure.message.startswith("Spiteful: ")
    assert raised(unwritable).failure.message == "ValueError: ?"
