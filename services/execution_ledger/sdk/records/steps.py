"""What a ledger answers of steps, with what all its answers share; `records.py` says the rest."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from ...errors import UnknownVersion


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    @classmethod
    def read(cls, answer: dict[str, Any]) -> Self:
        """Raises UnknownVersion for an answer that lacks what this client needs."""
        try:
            return cls.model_validate(answer)
        except ValidationError as error:
            raise UnknownVersion(
                f"The ledger's answer is not what this client understands: {error}\n"
                "Use the version of execution-ledger that the ledger runs."
            ) from error


class Failure(Record):
    """`kind` is a short stable word: user, lost, internal, …; `final`: the code said that no retry would help; `step`:
    in which it happened.
    """

    kind: str
    message: str
    traceback: str | None = None
    final: bool | None = None
    step: str | None = None


class CodeOrigin(Record):
    """The checkout that code came from. `kind` is `git_repository`, or `local`: no checkout, one with changes of its
    own, or one that names no repository. `requirements` is the path of the file that names what the code needs.
    """

    kind: str
    commit: str | None = None
    repository: str | None = None
    branch: str | None = None
    requirements: str | None = None


class Step(Record):
    """A step as it stands in an attempt: pending, started, completed, failed, skipped or aborted.

    `failure` says why it failed, or why the try before its last one did. `reused` is the execution whose outputs it
    took over instead of running. `origin` is the checkout of the code that ran. `attempt` is 0 before the first one.
    """

    attempt: int
    name: str
    status: str
    needs: list[str]
    tries: int
    started_at: datetime | None
    ended_at: datetime | None
    failure: Failure | None
    reused: str | None
    origin: CodeOrigin | None


class StepDefinition(Record):
    """`needs` are the steps that must have completed before; `retries` are those within one attempt."""

    name: str
    needs: list[str]
    retries: int
    description: str | None = None
