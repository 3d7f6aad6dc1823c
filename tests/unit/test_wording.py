"""What is wrong with a request is said in words for people."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from execution_ledger.gateway.edge.problems import field_errors
from execution_ledger.gateway.writes.requests import BatchRequest, ExecutionRequest, LabelRequest
from execution_ledger.messages.base import Message
from execution_ledger.messages.catalog import Twin


@pytest.mark.parametrize(
    ("model", "body", "said"),
    [
        (ExecutionRequest, {}, "pipeline: is missing"),
        (ExecutionRequest, {"pipeline": "p", "input": {}}, "input: is nothing that this call knows"),
        (
            ExecutionRequest,
            {"pipeline": "pümp"},
            "pipeline: must be 1 to 100 letters from a to z, digits, _ . and -, the first a letter",
        ),
        (ExecutionRequest, {"pipeline": 7}, "pipeline: must be a string"),
        (ExecutionRequest, {"pipeline": "p", "inputs": [1]}, "inputs: must be an object"),
        (ExecutionRequest, {"pipeline": "p", "options": "x"}, "options: must be an object"),
        (ExecutionRequest, {"pipeline": "p", "priority": 1.5}, "priority: must be a whole number"),
        (ExecutionRequest, {"pipeline": "p", "priority": 101}, "priority: must be less than or equal to 100"),
        (ExecutionRequest, {"pipeline": "p", "mode": "prod"}, "mode: must be 'experiment' or 'production'"),
        (ExecutionRequest, {"pipeline": "p", "business_id": ""}, "business_id: must have at least 1 character"),
        (
            ExecutionRequest,
            {"pipeline": "p", "labels": {f"k{n}": "v" for n in range(40)}},
            "labels: must have at most 32 entries",
        ),
        (
            ExecutionRequest,
            {"pipeline": "p", "labels": {"größe": "v"}},
            "labels.größe.[key]: must be 1 to 63 letters from a to z, digits, _ . / and -, the first a letter or digit",
        ),
        (LabelRequest, {"labels": {}}, "labels: must have at least 1, and has none"),
        (LabelRequest, {"labels": {"a": "1\n2"}}, "labels.a: must be one line without control characters"),
        (BatchRequest, {"executions": []}, "executions: must have at least 1, and has none"),
        (BatchRequest, {"executions": "p"}, "executions: must be a list"),
        (
            Twin,
            {"template": "a b"},
            "template: must be 1 to 100 letters from a to z, digits, _ . and -, the first a letter or digit",
        ),
    ],
)
def test_what_is_wrong_is_said_in_words_for_people(model: type[Message], body: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        model.model_validate(body)
    [told] = field_errors(refused.value.errors())
    assert f"{told.field}: {told.detail}" == said
