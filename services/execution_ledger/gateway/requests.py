"""What callers may send, closed: a field this API does not know is an error, not a silent loss."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, FailFast, Field

from execution_ledger.messages.base import Message
from execution_ledger.messages.ids import PipelineName
from execution_ledger.messages.parts import Labels, Mode, Options, Policy, Reason, Text

from .problems import FieldError

# What a run may do where its request says nothing: an experiment learns and draws, production writes.
_MODE_OPTIONS = {
    "experiment": Options(train=True, plot=True, write=False),
    "production": Options(train=False, plot=False, write=True),
}


EXECUTIONS_MAX = 10_000  # in one batch


class Asked(Message):
    """What is asked for is taken as it is written: "3" is no number, and true is none either."""

    model_config = ConfigDict(strict=True)


class OptionsRequest(Asked):
    """Rights of the run (their defaults come from the mode), then its policy."""

    train: bool | None = None
    plot: bool | None = None
    write: bool | None = None
    losses_max: Annotated[int, Field(ge=0, le=100, description="Lost attempts that are queued again")] | None = None
    abort_grace_ms: Annotated[int, Field(ge=0, le=3_600_000)] | None = None
    delivery: Annotated[Literal["at_least_once", "at_most_once"], Field(description="at_most_once: later")] | None = (
        None
    )
    retries: Annotated[int, Field(ge=0, le=100, description="Not yet available above 0")] | None = None
    timeout_ms: Annotated[int, Field(gt=0, description="Not yet available")] | None = None
    queue_ttl_ms: Annotated[int, Field(gt=0, description="Not yet available")] | None = None
    pool: Annotated[Text, Field(description="Only `default` yet")] | None = None


class ExecutionRequest(Asked):
    """One execution to run; `inputs` are checked against what the pipeline's newest version declares."""

    pipeline: PipelineName
    inputs: dict[str, Any] = Field(default_factory=dict)
    twin: Text | None = None
    mode: Mode = "production"
    options: OptionsRequest = OptionsRequest()
    properties: dict[str, Any] | None = None
    labels: Labels = Field(default_factory=dict)
    priority: Annotated[int, Field(ge=-100, le=100)] = 0


class BatchRequest(Asked):
    """Reading stops at the first that cannot be read: millions of them would take minutes to report."""

    executions: Annotated[list[ExecutionRequest], Field(min_length=1, max_length=EXECUTIONS_MAX), FailFast()]


class AbortRequest(Asked):
    """Why, for those who read the record later; of control characters only line breaks and tabs."""

    reason: Annotated[Reason, Field(pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$")] | None = None


def options_of(request: ExecutionRequest) -> Options:
    asked = request.options.model_dump(include={"train", "plot", "write"}, exclude_none=True)
    return _MODE_OPTIONS[request.mode].model_copy(update=asked)


def policy_of(request: ExecutionRequest) -> Policy:
    return Policy.model_validate(
        request.options.model_dump(include={"losses_max", "abort_grace_ms"}, exclude_none=True)
    )


def not_yet(options: OptionsRequest) -> list[FieldError]:
    """What the messages have room for, and no service obeys yet: refusing is better than forgetting."""
    asked = {
        "delivery": options.delivery == "at_most_once",
        "retries": bool(options.retries),
        "timeout_ms": options.timeout_ms is not None,
        "queue_ttl_ms": options.queue_ttl_ms is not None,
        "pool": options.pool not in (None, "default"),
    }
    return [
        FieldError(f"options.{name}", "is not yet available; leave it out") for name, wanted in asked.items() if wanted
    ]


def digest_of_body(*parts: Message) -> str:
    """What "the same body" means: the validated request with its defaults, before versions are resolved."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(json.dumps(part.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode())
    return digest.hexdigest()
