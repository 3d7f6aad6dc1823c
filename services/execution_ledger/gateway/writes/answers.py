"""What those who ask for something get: the ledger's decision, or a problem."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from execution_ledger.messages.base import Message
from execution_ledger.messages.parts import JobAction, Refusal, Status


class ExecutionAnswer(Message):
    """What the ledger decided. `status` is the first one; read the record for the present one."""

    id: str
    number: int
    name: str
    status: Status
    position: str
    command_id: str


class ReceivedAnswer(Message):
    """The command is safe in the log and undecided: `GET /v1/commands/{command_id}` tells what becomes of it.

    `id` is absent where a key may belong to an earlier request, whose id would be the answer.
    """

    status: Literal["received"] = "received"
    command_id: str
    id: str | None = None
    position: str = ""


class AbortAnswer(Message):
    id: str
    status: Status
    position: str
    command_id: str


class ChangedAnswer(Message):
    """It was done. The record tells how the execution stands."""

    id: str
    position: str
    command_id: str


class JobAnswer(Message):
    """The job is open: `GET /v1/jobs/{id}` tells how far it is. `targets_digest` names the executions it acts on."""

    id: str
    action: JobAction
    count: int
    targets_digest: str
    position: str
    command_id: str


class Target(Message):
    id: str
    name: str
    status: Status


class JobPreview(Message):
    """What a job would act on; nothing was done. `sample` are the oldest of them."""

    dry_run: Literal[True] = True
    action: JobAction
    count: int
    targets_digest: str
    sample: list[Target]
    position: str


class ChildAnswer(Message):
    """One execution of a batch: queued (or already further), received and undecided, or rejected."""

    id: str
    status: Status | Literal["received", "rejected"]
    number: int | None = None
    name: str | None = None
    refusal: Refusal | None = None


class BatchAnswerBody(Message):
    id: str
    executions: list[ChildAnswer]
    position: str
    command_id: str


class PipelineAnswer(Message):
    name: str
    version: int
    digest: str
    position: str
    command_id: str


class EntryAnswer(Message):
    """Of a template, a twin or an experiment."""

    key: str
    version: int
    digest: str
    position: str
    command_id: str


class RemovedAnswer(Message):
    key: str
    version: int
    position: str
    command_id: str


class CommandRecord(Message):
    """What became of a command. `id`, `number` and `name` are of the execution that it was about."""

    command_id: str
    status: Literal["received", "accepted", "rejected", "failed"]
    subject: str
    id: str | None = None
    number: int | None = None
    name: str | None = None
    version: int | None = None
    refusal: Refusal | None = None
    error: str | None = None
    position: str = ""


class ProblemDocument(BaseModel):
    """RFC 9457. `type` is stable; `detail` says what to do next; further members depend on the type."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[Literal["field", "detail"], str]] = Field(default_factory=list)
