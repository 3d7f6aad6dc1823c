"""Steps: the parts of a pipeline, which of them need which, what becomes of them, and what may be reused of them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import Message
from .ids import ExecutionId, StepName
from .parts import Text
from .payload import Payload

STEPS_MAX = 100
REUSED_BYTES_MAX = 120_000  # of all reused outputs together: they travel in one message with inputs and properties

StepStatus = Literal["started", "completed", "failed", "skipped"]
# Each step with those that it needs, in an order in which it comes after them.
Steps = Annotated[dict[StepName, list[StepName]], Field(min_length=1, max_length=STEPS_MAX)]


class Reused(Message):
    """What a step gave in an earlier execution: it does not run again."""

    execution: ExecutionId
    outputs: Payload


Reusable = Annotated[dict[StepName, Reused], Field(min_length=1, max_length=STEPS_MAX)]


class CodeOrigin(Message):
    """The checkout that code came from. `local`: none, or one with changes that `commit` does not hold."""

    kind: Literal["local", "git_repository"]
    commit: Text | None = None
    repository: Text | None = None  # its URL, without user and password
    branch: Text | None = None
    requirements: Text | None = None  # the path of the file that names what the code needs, within the checkout
