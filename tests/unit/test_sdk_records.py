"""What the client gives types to: everything that the gateway answers, and whatever a newer one adds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from execution_ledger.errors import UnknownVersion
from execution_ledger.gateway.reads import records
from execution_ledger.gateway.writes import answers
from execution_ledger.messages import explanation
from execution_ledger.sdk.records import entries, explanations
from execution_ledger.sdk.records import records as sdk
from unit.client_stage import record

WARNING = {
    "warnings.attempt",
    "warnings.message",
    "warnings.step",
    "warnings.time",
}  # which the gateway passes on unread
PAIRS: list[tuple[type[BaseModel], type[BaseModel], set[str], set[str]]] = [
    (records.ExecutionSummary, sdk.ExecutionSummary, set(), set()),
    (records.ExecutionRecord, sdk.Execution, set(), WARNING),
    (records.Stats, sdk.Stats, set(), set()),
    (records.PipelineRecord, sdk.PipelineVersion, {"definition.name", "definition.code"}, set()),
    (records.TemplateRecord, entries.Template, set(), set()),
    (records.TwinAt, entries.Twin, {"position"}, set()),
    (records.ExperimentRecord, entries.Experiment, set(), set()),
    (answers.EntryAnswer, entries.Registered, {"position", "command_id"}, set()),
    (answers.ChildAnswer, sdk.Child, set(), set()),
    (explanation.Explanation, explanations.Explanation, set(), set()),
    (explanation.QueueReport, explanations.Queue, set(), set()),
    (explanation.RunnersReport, explanations.Runners, set(), set()),
]


def paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield prefix + name
        for inner in models_in(field.annotation):
            yield from paths(inner, f"{prefix}{name}.")


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)


@pytest.mark.parametrize(("served", "typed", "left_out", "own"), PAIRS, ids=lambda each: getattr(each, "__name__", ""))
def test_every_field_that_the_gateway_answers_has_a_type(
    served: type[BaseModel], typed: type[BaseModel], left_out: set[str], own: set[str]
) -> None:
    assert set(paths(served)) - set(paths(typed)) == left_out
    assert set(paths(typed)) - set(paths(served)) == own


def test_a_newer_ledger_may_add_fields_and_words() -> None:
    newer = record("queued", mood="good") | {"status": "paused"}
    newer["options"]["fly"] = True
    found = sdk.Execution.read(newer)
    assert found.status == "paused"
    assert found.options == sdk.Options(train=False, plot=False, write=True)


def test_times_are_aware() -> None:
    assert sdk.Execution.read(record("queued")).created_at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


def test_an_answer_that_lacks_what_is_needed_names_it_and_what_to_do() -> None:
    older = record("queued")
    del older["attempts"]
    with pytest.raises(UnknownVersion, match=r"(?s)attempts.*Use the version"):
        sdk.Execution.read(older)
