"""What `@pipeline` may say of retries and deadlines, and the durations in which it says so."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import Any

import pytest

from execution_ledger import Context, pipeline
from execution_ledger.errors import BadRequest
from execution_ledger.messages.definition import Definition, definition_text
from execution_ledger.messages.parts import Backoff, PolicyChoice
from execution_ledger.sdk.pipelines.durations import duration_ms


async def load(context: Context) -> None:
    """Loads."""


def declared(**options: Any) -> PolicyChoice | None:
    return pipeline(**options)(load).definition.policy


@pytest.mark.parametrize(
    ("written", "milliseconds"),
    [(90, 90_000), (0.25, 250), ("90", 90_000), ("90s", 90_000), ("1.5h", 5_400_000), (" 2 d ", 172_800_000)],
)
def test_durations_are_seconds_or_say_their_unit(written: float | str, milliseconds: int) -> None:
    assert duration_ms(written) == milliseconds


@pytest.mark.parametrize("written", ["", "soon", "-1", -1, "1w", "1h30m", True, float("nan"), float("inf"), "1e3"])
def test_what_is_no_duration_is_refused(written: float | str) -> None:
    with pytest.raises(BadRequest, match="is no duration"):
        duration_ms(written)


def test_a_pipeline_declares_its_policy() -> None:
    assert declared(
        timeout="10m", retries=3, backoff="5s", queue_ttl=timedelta(minutes=1), abort_grace=2
    ) == PolicyChoice(
        timeout_ms=600_000, retries=3, backoff=Backoff(first_ms=5_000), queue_ttl_ms=60_000, abort_grace_ms=2_000
    )
    assert declared(delivery="at_most_once") == PolicyChoice(delivery="at_most_once")


def test_each_kind_of_failure_may_have_its_number_and_backoff_its_shape() -> None:
    kinds = {"user": 1, "timeout": 2, "infrastructure": 3, "lost": 4}
    choice = PolicyChoice(retries=1, timeout_retries=2, infrastructure_retries=3, losses_max=4)
    assert declared(retries=kinds) == choice
    shape = {"first": "1s", "factor": 3, "max": "1h", "jitter": 0}
    assert declared(backoff=shape) == PolicyChoice(
        backoff=Backoff(first_ms=1_000, factor=3, max_ms=3_600_000, jitter=0)
    )


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"timeout": "soon"}, "is no duration"),
        ({"timeout": None}, "is no duration"),
        ({"timeout": 0}, "greater than 0"),
        ({"retries": 101}, "less than or equal to 100"),
        ({"retries": {"usre": 1}}, "has no 'usre'"),
        ({"backoff": {"first": 1, "growth": 2}}, "has no 'growth'"),
        ({"delivery": "exactly_once"}, "delivery"),
        ({"delivery": "at_most_once", "retries": 1}, "never retried"),
        ({"time_out": 1}, "'time_out' is no option"),
    ],
)
def test_what_cannot_be_is_refused_with_the_name_of_the_function(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BadRequest, match="load: ") as refused:
        declared(**options)
    assert complaint in str(refused.value)


def test_a_changed_policy_is_a_new_version_and_no_policy_is_the_version_that_it_was() -> None:
    plain, timed = pipeline(load), pipeline(timeout=5)(load)
    assert plain.digest != timed.digest
    assert "policy" not in definition_text(plain.definition)
    read = Definition.model_validate(json.loads(definition_text(timed.definition)))
    assert hashlib.sha256(definition_text(read).encode()).hexdigest() == timed.digest
