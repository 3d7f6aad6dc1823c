"""What callers may send, closed: a field this API does not know is an error, not a silent loss."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, FailFast, Field

from execution_ledger.messages.base import Message
from execution_ledger.messages.ids import PipelineName, business_key
from execution_ledger.messages.parts import (
    LABELS_MAX,
    BusinessId,
    IfLive,
    JobAction,
    LabelKey,
    Labels,
    Mode,
    Options,
    PolicyChoice,
    Reason,
    Text,
)

from ..edge.problems import FieldError

# What a run may do where its request says nothing: an experiment learns and draws, production writes.
_MODE_OPTIONS = {
    "experiment": Options(train=True, plot=True, write=False),
    "production": Options(train=False, plot=False, write=True),
}


EXECUTIONS_MAX = 10_000  # in one batch
TARGETS_MAX = 10_000  # of one job: so the rest of every batch can be aborted by one


class Asked(Message):
    """What is asked for is taken as it is written: "3" is no number, and true is none either."""

    model_config = ConfigDict(strict=True)


class OptionsRequest(Asked):
    """Rights of the run; their defaults come from the mode."""

    train: bool | None = None
    plot: bool | None = None
    write: bool | None = None
    pool: Annotated[Text, Field(description="Only `default` yet")] | None = None


class ExecutionRequest(Asked):
    """One execution to run; `inputs` are checked against what the pipeline's newest version declares."""

    pipeline: PipelineName
    inputs: dict[str, Any] = Field(default_factory=dict)
    twin: Text | None = Field(default=None, description="Has to be registered; its values are properties of the run")
    mode: Mode = "production"
    experiment: Text | None = Field(default=None, description="What it belongs to, in mode experiment")
    options: OptionsRequest = OptionsRequest()
    policy: PolicyChoice = Field(default=PolicyChoice(), description="Where it says nothing, the pipeline's holds")
    properties: dict[str, Any] | None = None
    labels: Labels = Field(default_factory=dict)
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    business_id: Annotated[
        BusinessId | None,
        Field(description="Unique among the pipeline's live executions; an Idempotency-Key counts per business id"),
    ] = None
    if_live: Annotated[
        IfLive,
        Field(description="Where one is live: `refuse`; `first`: that one is the answer; `wait`: run after its end"),
    ] = "refuse"


class BatchRequest(Asked):
    """Reading stops at the first that cannot be read: millions of them would take minutes to report."""

    executions: Annotated[list[ExecutionRequest], Field(min_length=1, max_length=EXECUTIONS_MAX), FailFast()]


class RetryRequest(Asked):
    """Nothing to say: all is as it was."""


class RerunRequest(Asked):
    """What to change; `inputs` and `labels` go over the old ones by name, and what is left out stays as it was.

    It runs the version that ran before, or with `newest` the newest one, whose declaration all inputs then have to fit.
    The twin's values are those of now.
    With `from_failed` steps that have completed do not run again: what they gave is reused. So nothing may change that
    they ran with, and the version must still be the newest.
    """

    inputs: dict[str, Any] = Field(default_factory=dict)
    newest: bool = False
    from_failed: bool = False
    twin: Text | None = None
    mode: Mode | None = None
    experiment: Text | None = None
    options: OptionsRequest = OptionsRequest()
    policy: PolicyChoice = PolicyChoice()
    properties: dict[str, Any] | None = None
    labels: Labels = Field(default_factory=dict)
    priority: Annotated[int, Field(ge=-100, le=100)] | None = None

    def of_what_steps_ran_with(self) -> list[str]:
        """The names of those changes that steps which have completed could not take part in."""
        names = ("inputs", "newest", "twin", "mode", "experiment", "options", "properties")
        return [name for name in names if getattr(self, name) != getattr(_NO_CHANGES, name)]


_NO_CHANGES = RerunRequest()
RAN_WITH = "cannot change: steps that have completed ran with the old one"

BadEnd = Literal["failed", "aborted"]


def _the_failed() -> list[BadEnd]:
    return ["failed"]


class BatchRetryRequest(Asked):
    """Which of a batch's executions to retry: those that ended like this."""

    statuses: Annotated[list[BadEnd], Field(min_length=1, max_length=2)] = Field(default_factory=_the_failed)


class Explained(Asked):
    """Why, for those who read the record later; of control characters only line breaks and tabs."""

    reason: Annotated[Reason, Field(pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$")] | None = None


class AbortRequest(Explained):
    """Why it is to end."""


class HoldRequest(Explained):
    """Why it is to wait, or may run again."""


LabelChange = Annotated[dict[LabelKey, Text | None], Field(min_length=1, max_length=LABELS_MAX)]


class LabelRequest(Explained):
    """Labels go over the old ones by name; null takes one away."""

    labels: LabelChange


class JobRequest(Explained):
    """What to do with which executions: those named in `executions` (by id, number or name), or all that `where` finds.

    `where` takes the filters of `GET /v1/executions`, by the same names; one that is null or an empty list would find
    everything, and is refused. `labels` belongs to `label`, `changes` to `rerun`: with `from_failed` each is run from
    its own failed step, and those that cannot be are refused one by one. With `targets_digest`, as a dry run gave it,
    only the very executions are acted on that it had found.
    """

    action: JobAction
    executions: Annotated[list[str], Field(max_length=TARGETS_MAX), FailFast()] = Field(default_factory=list)
    where: dict[str, Any] = Field(default_factory=dict)
    labels: LabelChange | None = None
    changes: RerunRequest | None = None
    targets_digest: Text | None = None
    dry_run: bool = False

    @property
    def from_failed(self) -> bool:
        return self.changes is not None and self.changes.from_failed

    def wrong(self) -> list[FieldError]:
        """What does not go together."""
        belongs = {"labels": "label", "changes": "rerun"}
        stray = [name for name, action in belongs.items() if getattr(self, name) is not None and self.action != action]
        errors = [FieldError(name, f"belongs to {belongs[name]}, not to {self.action}") for name in stray]
        if bool(self.executions) == bool(self.where):
            errors.append(
                FieldError("where", "name `executions`, or give `where` at least one filter, like a status; not both")
            )
        errors += [
            FieldError(f"where.{name}", "narrows nothing: give it a value, or leave it out")
            for name, value in self.where.items()
            if value is None or value == []
        ]
        if self.from_failed and self.changes:
            without = f"{RAN_WITH}. Run all of them again, without from_failed"
            errors += [FieldError(f"changes.{name}", without) for name in self.changes.of_what_steps_ran_with()]
        if self.action == "label" and self.labels is None:
            errors.append(FieldError("labels", "is missing: say which labels to set, null for those to take away"))
        return errors


def label_change(change: Mapping[str, str | None]) -> dict[str, Any]:
    """As messages say it."""
    return {
        "labels": {key: value for key, value in change.items() if value is not None},
        "removed": [key for key, value in change.items() if value is None],
    }


def options_of(request: ExecutionRequest) -> Options:
    asked = request.options.model_dump(include={"train", "plot", "write"}, exclude_none=True)
    return _MODE_OPTIONS[request.mode].model_copy(update=asked)


def policy_of(said: PolicyChoice, otherwise: PolicyChoice | None) -> PolicyChoice:
    """The request's word, then its pipeline's. Who asks for at most once alone has asked for no retries."""
    if said.delivery == "at_most_once" and said.retries is None:
        said = said.model_copy(update={"retries": 0})
    return said.over(otherwise)


def business_of(request: ExecutionRequest) -> str | None:
    """The business id with its pipeline."""
    return None if request.business_id is None else business_key(request.pipeline, request.business_id)


def not_yet(options: OptionsRequest) -> list[FieldError]:
    """What the messages have room for, and no service obeys yet: refusing is better than forgetting."""
    if options.pool in (None, "default"):
        return []
    return [FieldError("options.pool", "is not yet available; leave it out")]


def digest_of_body(*parts: Message) -> str:
    """What "the same body" means: the validated request with its defaults, before versions are resolved."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(json.dumps(part.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode())
    return digest.hexdigest()
