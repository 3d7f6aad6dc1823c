"""The catalog on shard 0: pipelines, versioned by the digest of their content."""

from __future__ import annotations

from dataclasses import dataclass

from execution_ledger.messages.commands import RegisterPipeline
from execution_ledger.messages.definition import Definition
from execution_ledger.messages.events import Fact, PipelineRegistered
from execution_ledger.messages.parts import Refusal


@dataclass(frozen=True, slots=True)
class Registration:
    """The newest version of a pipeline, without its definition."""

    version: int
    digest: str
    sequence: int


def register(newest: Registration | None, command: RegisterPipeline) -> list[Fact] | Refusal:
    """A new version, or nothing where the newest one has the same content.

    What every gateway has to read from the log for ever is read here first, whoever sent it.
    """
    if wrong := _unusable(command):
        return Refusal(
            code="invalid_definition", detail=f"This is no definition of {command.pipeline}: {wrong}"[:2_000]
        )
    if newest is not None and newest.digest == command.digest:
        return []
    return [
        PipelineRegistered(
            pipeline=command.pipeline,
            version=newest.version + 1 if newest else 1,
            digest=command.digest,
            definition=command.definition,
            body_digest=command.body_digest,
            keyed=command.keyed,
        )
    ]


def _unusable(command: RegisterPipeline) -> str | None:
    try:
        definition = Definition.model_validate(command.definition.value())
    except (ValueError, RecursionError) as error:  # no JSON, or no definition
        return str(error)
    return None if definition.name == command.pipeline else f"it is named {definition.name}."
