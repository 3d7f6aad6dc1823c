"""The catalog as this gateway knows it: every version of every pipeline, the entries beside them, and who dispatches.

Kept in memory from shard 0's first event on, so that checking a request and listing pipelines need no database.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from execution_ledger.messages.definition import Definition
from execution_ledger.messages.events import DispatcherClaimed, Event, PipelineRegistered
from execution_ledger.messages.parts import PipelineRef

from ..edge.problems import Refused, refused
from .entries import KnownEntries


@dataclass(frozen=True, slots=True)
class Registered:
    """One version. `registered_ms` is the ledger's time."""

    ref: PipelineRef
    definition: Definition
    registered_ms: int
    registered_by: str | None


class Catalog:
    def __init__(self) -> None:
        self.dispatcher_address: str | None = None  # of the newest claim
        self.entries = KnownEntries()
        self._versions: dict[str, list[Registered]] = {}

    def fold(self, event: Event) -> None:
        fact = event.data
        if isinstance(fact, PipelineRegistered):
            self._versions.setdefault(fact.pipeline, []).append(_registered(event, fact))
        elif isinstance(fact, DispatcherClaimed):
            self.dispatcher_address = fact.address
        else:
            self.entries.fold(event)

    def newest(self, name: str) -> Registered | None:
        versions = self._versions.get(name)
        return versions[-1] if versions else None

    def version(self, name: str, version: int) -> Registered | None:
        return next((known for known in self._versions.get(name, ()) if known.ref.version == version), None)

    def find(self, name: str, version: int | None) -> Registered | None:
        """None stands for the newest version."""
        return self.newest(name) if version is None else self.version(name, version)

    def page(self, after: str, limit: int) -> list[Registered]:
        """The newest version of each pipeline whose name comes after `after`, by name."""
        names = sorted(name for name in self._versions if name > after)[:limit]
        return [self._versions[name][-1] for name in names]

    def unknown(self, name: str) -> Refused:
        """The refusal for a name that is not here, with the names that may have been meant."""
        near = difflib.get_close_matches(name, self._versions, n=3)
        meant = f"Did you mean {' or '.join(near)}? " if near else ""
        return refused("unknown-pipeline", f"No pipeline {name!r} is registered. {meant}{_WHICH}", near=near)


_WHICH = (
    "Which are: exledger pipelines, or GET /v1/pipelines. Code is read when a runner starts: after a change start it "
    "anew, or the `exledger dev` that it belongs to."
)


def _registered(event: Event, fact: PipelineRegistered) -> Registered:
    definition = Definition.model_validate(fact.definition.value())
    ref = PipelineRef(name=fact.pipeline, version=fact.version, digest=fact.digest, limit=definition.limit)
    return Registered(ref, definition, event.recordedtime, event.actor)
