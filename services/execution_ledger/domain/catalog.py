"""The catalog on shard 0: pipelines, versioned by the digest of their content."""

from __future__ import annotations

from dataclasses import dataclass

from execution_ledger.messages.commands import RegisterPipeline
from execution_ledger.messages.events import Fact, PipelineRegistered


@dataclass(frozen=True, slots=True)
class Registration:
    """The newest version of a pipeline, without its definition."""

    version: int
    digest: str
    sequence: int


def register(newest: Registration | None, command: RegisterPipeline) -> list[Fact]:
    """A new version, or nothing where the newest one has the same content."""
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
