"""The context in a pipeline's hands."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from execution_ledger.errors import BadRequest
from execution_ledger.messages.parts import Options
from execution_ledger.sdk.attempt.context import WARNINGS_MAX, Aborted, Context


def a_context(warnings: list[str]) -> Context:
    return Context(
        execution_id="e",
        name="train-1",
        attempt=1,
        mode="production",
        options=Options(train=True, plot=False, write=True),
        said=lambda said: warnings.append(said.fields["message"]),
        properties={"site": "north"},
    )


def test_it_says_when_to_stop() -> None:
    context = a_context([])
    context.check_abort()
    context.request_abort("enough")
    assert context.abort_requested
    with pytest.raises(Aborted, match="enough"):
        context.check_abort()


def test_an_abort_of_its_own_says_so() -> None:
    with pytest.raises(Aborted) as aborted:
        a_context([]).abort("nothing to do")
    assert (aborted.value.reason, aborted.value.by_itself) == ("nothing to do", True)


def test_warnings_from_many_threads_are_bounded_and_the_last_one_says_so() -> None:
    warnings: list[str] = []
    context = a_context(warnings)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(context.warn, ["again"] * (2 * WARNINGS_MAX)))
    assert len(warnings) == WARNINGS_MAX
    assert sum("not recorded" in warning for warning in warnings) == 1


def test_its_logger_knows_the_execution() -> None:
    assert a_context([]).log is not None
    assert a_context([]).properties == {"site": "north"}


def test_its_folder_is_made_once_and_gone_after_the_attempt_for_good() -> None:
    context = a_context([])
    assert context.left_folder() is None
    (context.folder / "report.html").touch()
    assert [path.name for path in context.of_step("fit", 1, cast(Any, None)).folder.iterdir()] == ["report.html"]
    left, path = context.left_folder(), context.folder
    assert left
    left.remove()
    left.remove()
    assert not path.exists()
    with pytest.raises(BadRequest, match="This attempt is over"):
        _ = context.folder


def test_a_property_that_is_not_there_says_where_they_come_from() -> None:
    """`KeyError: 'rated_kw'` is what everybody sees who runs a pipeline without its twin."""
    properties = a_context([]).properties
    assert (properties, properties.get("rated_kw"), json.dumps(properties)) == (
        {"site": "north"},
        None,
        '{"site": "north"}',
    )
    with pytest.raises(KeyError, match=r"rated_kw is no property .* which has: site\. Its twin"):
        properties["rated_kw"]
