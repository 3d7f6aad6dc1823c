"""Commands: what callers and the dispatcher ask of a ledger. Each leaves exactly one trace in its shard.

The gateway stamps `actor`, `reason` and ids from the token; a client never sends them.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, TypeAdapter

from .base import Message, Time
from .catalog import Noun
from .ids import ExecutionId, Key, PipelineName
from .parts import (
    LABELS_MAX,
    BusinessId,
    Count,
    ExpiryCause,
    IfLive,
    JobAction,
    LabelKey,
    Labels,
    Link,
    Mode,
    Options,
    Origin,
    PipelineRef,
    Policy,
    Reason,
    Refusal,
    Text,
)
from .payload import Payload
from .steps import Reusable, Steps


class CommandBase(Message):
    """Every command also has a `subject`: the key of its record, and what its trace is about."""

    command_id: Text
    actor: Text
    reason: Reason | None = None
    keyed: bool = False  # the client sent an idempotency key: remembered for a day, else for two minutes
    body_digest: Text | None = None  # of the validated request, before versions are resolved: "same body"
    traceparent: Text | None = None
    correlation_id: Text | None = None
    causation_id: Text | None = None


class ExecutionCommand(CommandBase):
    execution_id: ExecutionId

    @property
    def subject(self) -> str:
        return self.execution_id


class Submit(ExecutionCommand):
    type: Literal["submit.v1"] = "submit.v1"
    pipeline: PipelineRef
    inputs: Payload
    properties: Payload | None = None
    own_properties: list[str] | None = None  # the caller's; the others are its twin's. None: all are the caller's
    twin: Text | None = None
    template: Key | None = None  # the twin's
    experiment: Key | None = None
    mode: Mode = "production"
    options: Options
    labels: Labels = Field(default_factory=dict)
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    pool: Text = "default"
    policy: Policy = Policy()
    origin: Origin | None = None
    link: Link | None = None
    business_id: BusinessId | None = None
    if_live: IfLive | None = None  # None: refuse
    steps: Steps | None = None
    reused: Reusable | None = None


class RequestAbort(ExecutionCommand):
    type: Literal["request_abort.v1"] = "request_abort.v1"


class ForceAbort(ExecutionCommand):
    type: Literal["force_abort.v1"] = "force_abort.v1"


class Hold(ExecutionCommand):
    """What waits is not dispatched until somebody releases it."""

    type: Literal["hold.v1"] = "hold.v1"


class Unhold(ExecutionCommand):
    """To callers this is a release; a runner that drains releases, too, and means something else."""

    type: Literal["unhold.v1"] = "unhold.v1"


class ChangeLabels(ExecutionCommand):
    """In every state, also long after the end: whoever sends this has seen that the execution exists."""

    type: Literal["change_labels.v1"] = "change_labels.v1"
    labels: Labels = Field(default_factory=dict)
    removed: Annotated[list[LabelKey], Field(max_length=LABELS_MAX)] = Field(default_factory=list)


class Decline(ExecutionCommand):
    """A job was to make a new one of this execution, and a gateway has found that impossible: it is refused, as the
    gateway says, so that the job has an answer to each of its commands.
    """

    type: Literal["decline.v1"] = "decline.v1"
    refusal: Refusal


class DispatcherCommand(ExecutionCommand):
    """Asked by the active dispatcher; a `claim` lower than the shard's newest is refused."""

    claim: Count


class Dispatch(DispatcherCommand):
    type: Literal["dispatch.v1"] = "dispatch.v1"
    attempt: Count
    runner: Text


class ExpireAttempt(DispatcherCommand):
    type: Literal["expire_attempt.v1"] = "expire_attempt.v1"
    attempt: Count
    cause: ExpiryCause


class ExpireQueued(DispatcherCommand):
    type: Literal["expire_queued.v1"] = "expire_queued.v1"


class RegisterPipeline(CommandBase):
    """`definition` is JSON: inputs, outputs, limit, description. The same digest as the newest version is a repeat."""

    type: Literal["register_pipeline.v1"] = "register_pipeline.v1"
    pipeline: PipelineName
    digest: Text
    definition: Payload

    @property
    def subject(self) -> str:
        return f"pipeline/{self.pipeline}"


class EntryCommand(CommandBase):
    """About one entry of the catalog beside pipelines."""

    NOUN: ClassVar[Noun]
    key: Key

    @property
    def subject(self) -> str:
        return f"{self.NOUN}/{self.key}"


class RegisterEntry(EntryCommand):
    """`definition` is JSON, as `messages/catalog.py` says. The same digest as the newest version is a repeat."""

    digest: Text
    definition: Payload


class RegisterTemplate(RegisterEntry):
    type: Literal["register_template.v1"] = "register_template.v1"
    NOUN = "template"


class RegisterTwin(RegisterEntry):
    type: Literal["register_twin.v1"] = "register_twin.v1"
    NOUN = "twin"


class RegisterExperiment(RegisterEntry):
    type: Literal["register_experiment.v1"] = "register_experiment.v1"
    NOUN = "experiment"


class RemoveTwin(EntryCommand):
    type: Literal["remove_twin.v1"] = "remove_twin.v1"
    NOUN = "twin"


class ClaimDispatch(CommandBase):
    """A dispatcher makes itself the active one: numbered on shard 0 (`claim` absent), then told to every shard."""

    type: Literal["claim_dispatch.v1"] = "claim_dispatch.v1"
    dispatcher: Text
    address: Text | None = None
    claim: Count | None = None

    @property
    def subject(self) -> str:
        return "dispatcher"


class OpenBatch(CommandBase):
    """Decided before any child, so that a repeat completes the batch with the first one's ids and versions."""

    type: Literal["open_batch.v1"] = "open_batch.v1"
    batch_id: ExecutionId
    count: Count
    opened: Time
    versions: dict[PipelineName, PipelineRef]
    link: Link | None = None

    @property
    def subject(self) -> str:
        return f"batch/{self.batch_id}"


class OpenJob(CommandBase):
    """The same action on many executions. Their ids, `targets` (a JSON list), are fixed here, before any is asked."""

    type: Literal["open_job.v1"] = "open_job.v1"
    job_id: ExecutionId
    action: JobAction
    count: Count
    targets: Payload
    arguments: Payload | None = None  # of a label: `labels`; of a rerun: `changes`
    versions: dict[PipelineName, PipelineRef] | None = None  # that a rerun of the newest versions runs

    @property
    def subject(self) -> str:
        return f"job/{self.job_id}"


AnyCommand = (
    Submit
    | RequestAbort
    | ForceAbort
    | Hold
    | Unhold
    | ChangeLabels
    | Decline
    | Dispatch
    | ExpireAttempt
    | ExpireQueued
    | RegisterPipeline
    | RegisterTemplate
    | RegisterTwin
    | RegisterExperiment
    | RemoveTwin
    | ClaimDispatch
    | OpenBatch
    | OpenJob
)
COMMANDS: TypeAdapter[AnyCommand] = TypeAdapter(Annotated[AnyCommand, Field(discriminator="type")])
