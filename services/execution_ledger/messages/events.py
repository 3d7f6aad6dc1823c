"""Events: the only truth. Each is a CloudEvents 1.0 structured JSON document.

These types are a storage format that is kept for ever: a published version never changes, a new shape is a new
version (`.v2`) beside it. `schemas/` is generated from here, and a test fails on any drift.

An event's bytes are made once, in `encode`, and are the same in Kafka, in the journal and in every stream.
"""

from __future__ import annotations

import hashlib
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal, cast

from pydantic import (
    Field,
    PlainSerializer,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    create_model,
)

from execution_ledger.errors import BrokenHistory, UnknownVersion

from .base import Message, Time
from .catalog_facts import EntryFact as EntryFact
from .catalog_facts import EntryRegistered as EntryRegistered
from .catalog_facts import ExperimentRegistered as ExperimentRegistered
from .catalog_facts import PipelineRegistered as PipelineRegistered
from .catalog_facts import TemplateRegistered as TemplateRegistered
from .catalog_facts import TwinRegistered as TwinRegistered
from .catalog_facts import TwinRemoved as TwinRemoved
from .fact import Fact as Fact
from .ids import ExecutionId, Key, PipelineName
from .parts import (
    AbortOutcome,
    BusinessId,
    Count,
    Failure,
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
    RequeueCause,
    Text,
)
from .payload import Payload
from .recorded import ArtifactRecorded as ArtifactRecorded
from .recorded import Checkpointed as Checkpointed
from .recorded import MetricRecorded as MetricRecorded
from .recorded import Recorded as Recorded
from .recorded import StepChanged as StepChanged
from .recorded import Warned as Warned
from .shard_facts import CommandFailed as CommandFailed
from .shard_facts import CommandRejected as CommandRejected
from .shard_facts import CommandRepeated as CommandRepeated
from .shard_facts import CommandUnreadable as CommandUnreadable
from .shard_facts import ShardCheckpointed as ShardCheckpointed
from .shard_facts import ShardClaimed as ShardClaimed
from .shard_facts import ShardCreated as ShardCreated
from .shard_facts import SubmitJoined as SubmitJoined
from .steps import CodeOrigin, Reusable, Steps

TYPE_PREFIX = "executionledger."


# --- an execution's life ----------------------------------------------------------------------------------------


class Queued(Fact):
    TYPE = "execution.queued.v1"
    number: int
    name: Text
    pipeline: PipelineRef
    inputs: Payload
    properties: Payload | None = None
    own_properties: list[str] | None = None  # the caller's; the others are its twin's. None: all are the caller's
    twin: Text | None = None
    template: Key | None = None  # the twin's
    experiment: Key | None = None
    mode: Mode
    options: Options
    labels: Labels = Field(default_factory=dict)
    priority: int
    pool: Text
    policy: Policy
    origin: Origin | None = None
    body_digest: Text | None = None
    keyed: bool = False
    expires_at: Time | None = None  # unless it has been dispatched by then
    link: Link | None = None
    business_id: BusinessId | None = None  # unique among the pipeline's live executions, but for those that wait
    if_live: IfLive | None = None  # wait: it is not dispatched before the earlier ones of its business id have ended
    steps: Steps | None = None  # of its pipeline; absent where that is one function
    reused: Reusable | None = None


class Dispatched(Fact):
    TYPE = "execution.dispatched.v1"
    attempt: Count
    runner: Text
    claim: int
    timeout_at: Time | None = None  # also for a runner that never starts it; its start sets it anew


class Started(Fact):
    TYPE = "execution.started.v1"
    attempt: Count
    runner: Text
    ordinal: int  # of the report, so that a repeated report is known for one after a replay, too
    timeout_at: Time | None = None
    origin: CodeOrigin | None = None  # of a pipeline of one function; else each step says its own when it starts


class Requeued(Fact):
    """The attempt is over without an end of the execution; the next one may begin from `not_before` on."""

    TYPE = "execution.requeued.v1"
    attempt: Count
    cause: RequeueCause
    not_before: Time | None = None
    expires_at: Time | None = None  # unless it has been dispatched by then
    failure: Failure | None = None


class AbortRequested(Fact):
    """`attempt` is absent when nothing was dispatched: then the execution is aborted in the same breath."""

    TYPE = "execution.abort_requested.v1"
    attempt: Count | None = None
    grace_until: Time | None = None
    body_digest: Text | None = None
    keyed: bool = False


class Aborted(Fact):
    TYPE = "execution.aborted.v1"
    attempt: Count | None = None
    outcome: AbortOutcome


class Completed(Fact):
    TYPE = "execution.completed.v1"
    attempt: Count
    outputs: Payload
    abort: Literal["too_late"] | None = None


class Failed(Fact):
    TYPE = "execution.failed.v1"
    attempt: Count | None = None
    failure: Failure
    abort: Literal["too_late"] | None = None


class Held(Fact):
    """It waits, and is not dispatched until `unheld`; the envelope says who wants that, and why."""

    TYPE = "execution.held.v1"
    body_digest: Text | None = None
    keyed: bool = False


class Unheld(Fact):
    """It may be dispatched again. Its time in the queue begins anew: `expires_at`."""

    TYPE = "execution.unheld.v1"
    expires_at: Time | None = None
    body_digest: Text | None = None
    keyed: bool = False


class Quarantined(Fact):
    """Not even failing this execution worked: only ForceAbort is accepted from here on."""

    TYPE = "execution.quarantined.v1"
    error: Reason


class LabelsChanged(Fact):
    """Of the execution that is the subject. Labels are not a part of its life: they may change long after its end."""

    TYPE = "labels.changed.v1"
    labels: Labels = Field(default_factory=dict)
    removed: list[LabelKey] = Field(default_factory=list)
    body_digest: Text | None = None
    keyed: bool = False


# --- batches, jobs, the dispatcher ------------------------------------------------------------------------------


class DispatcherClaimed(Fact):
    TYPE = "dispatcher.claimed.v1"
    dispatcher: Text
    claim: int
    address: Text | None = None


class BatchOpened(Fact):
    TYPE = "batch.opened.v1"
    batch_id: ExecutionId
    count: int
    opened: Time
    versions: dict[PipelineName, PipelineRef]
    body_digest: Text | None = None
    keyed: bool = False
    link: Link | None = None


class JobOpened(Fact):
    """What the job asks of each target follows as commands of their own, whose events name it as `causationid`."""

    TYPE = "job.opened.v1"
    job_id: ExecutionId
    action: JobAction
    count: Count
    targets: Payload  # their ids, as a JSON list
    arguments: Payload | None = None
    versions: dict[PipelineName, PipelineRef] | None = None
    body_digest: Text | None = None
    keyed: bool = False


FACTS: tuple[type[Fact], ...] = (
    ShardCreated,
    ShardClaimed,
    ShardCheckpointed,
    CommandRejected,
    CommandRepeated,
    CommandUnreadable,
    CommandFailed,
    Queued,
    Dispatched,
    Started,
    Warned,
    ArtifactRecorded,
    MetricRecorded,
    Checkpointed,
    StepChanged,
    Requeued,
    AbortRequested,
    Aborted,
    Completed,
    Failed,
    Quarantined,
    Held,
    Unheld,
    LabelsChanged,
    SubmitJoined,
    PipelineRegistered,
    TemplateRegistered,
    TwinRegistered,
    ExperimentRegistered,
    TwinRemoved,
    DispatcherClaimed,
    BatchOpened,
    JobOpened,
)

# --- the envelope -----------------------------------------------------------------------------------------------

# CloudEvents integers are 32 bits wide; positions outgrow that, so they travel as decimal text.
Wide = Annotated[
    int,
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": "^-?[0-9]+$"}),
]
# Zero-padded, because CloudEvents compares `sequence` as text.
Sequence = Annotated[
    int,
    PlainSerializer(lambda number: f"{number:020d}", return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{20}$"}),
]


class Event(Message):
    """The envelope. Attribute names are lower case without separators, as CloudEvents demands."""

    specversion: Literal["1.0"] = "1.0"
    id: Text  # <shard>-<sequence>
    source: Text  # /execution-ledger/<log id>/<shard>
    type: str
    subject: Text
    time: Time  # when the reporter says it happened
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: Text
    recordedtime: Time  # the ledger's only time: never decreases within a shard
    shard: int
    sequence: Sequence  # dense per shard, from 1
    version: int | None = None  # dense per execution, from 1; absent on what is not part of an execution's history
    previous: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")] | None = None  # sha256 of the one before
    ownerepoch: int
    cmdoffset: Wide  # how far the writer had read each lane; -1: nothing yet
    repoffset: Wide
    commandid: Text | None = None
    actor: Text | None = None
    reason: Reason | None = None
    traceparent: Text | None = None
    correlationid: Text | None = None
    causationid: Text | None = None
    data: Any  # one of FACTS; narrowed in ENVELOPES


def _envelope_of(fact: type[Fact]) -> type[Event]:
    """`Event` narrowed to one type, which is what the discriminated union and the JSON Schemas need."""
    name = TYPE_PREFIX + fact.TYPE
    return create_model(
        f"{fact.__name__}Event",
        __base__=Event,
        __doc__=fact.__doc__,
        type=(cast(Any, Literal[name]), ...),
        data=(fact, ...),
    )


ENVELOPES: dict[str, type[Event]] = {TYPE_PREFIX + fact.TYPE: _envelope_of(fact) for fact in FACTS}
_ANY_EVENT: Any = reduce(or_, ENVELOPES.values())
EVENTS: TypeAdapter[Event] = TypeAdapter(Annotated[_ANY_EVENT, Field(discriminator="type")])


def event_id(shard: int, sequence: int) -> str:
    return f"{shard}-{sequence:020d}"


def event_source(log_id: str, shard: int) -> str:
    return f"/execution-ledger/{log_id}/{shard}"


def log_id_of(event: Event) -> str:
    return event.source.split("/")[2]


def make_event(fact: Fact, **envelope: Any) -> Event:
    """The event that records `fact`; `envelope` is everything that the fact's type does not determine."""
    name = TYPE_PREFIX + fact.TYPE
    return ENVELOPES[name](type=name, dataschema=f"urn:execution-ledger:{fact.TYPE}", data=fact, **envelope)


def encode_event(event: Event) -> bytes:
    return event.model_dump_json(exclude_none=True).encode()


def decode_event(raw: bytes, place: object = "") -> Event:
    """Raises UnknownVersion or BrokenHistory: a reader that cannot understand an event stops, never skips it.

    `place` says where it lies, for those who have to look at it.
    """
    try:
        return EVENTS.validate_json(raw)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        if problem["type"] == "union_tag_invalid":
            raise UnknownVersion(
                f"This code does not know the event {raw[:200]!r}{_at(place)}. A newer release wrote it: run that "
                "release here."
            ) from error
        raise BrokenHistory(
            f"This is not an event of ours: {raw[:200]!r}{_at(place)} ({problem['msg']}). Nothing behind it is read. "
            "Restore the topic from a copy without it, and let nobody but ledgers write there."
        ) from error


def _at(place: object) -> str:
    return f" at {place}" if place else ""


def digest_of(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
