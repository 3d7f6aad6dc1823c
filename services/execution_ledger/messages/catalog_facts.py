"""What happened to the catalog, on shard 0: facts, as those of `events.py`."""

from __future__ import annotations

from typing import ClassVar

from .catalog import Noun
from .fact import Fact
from .ids import Key, PipelineName
from .parts import Count, Text
from .payload import Payload


class PipelineRegistered(Fact):
    TYPE = "pipeline.registered.v1"
    pipeline: PipelineName
    version: Count
    digest: Text
    definition: Payload
    body_digest: Text | None = None
    keyed: bool = False


class EntryFact(Fact):
    """Of one entry of the catalog beside pipelines: its next version."""

    NOUN: ClassVar[Noun]
    key: Key
    version: Count


class EntryRegistered(EntryFact):
    """`definition` is JSON, as `messages/catalog.py` says."""

    digest: Text
    definition: Payload
    body_digest: Text | None = None
    keyed: bool = False


class TemplateRegistered(EntryRegistered):
    """A kind of asset: what each of its twins says of itself."""

    TYPE, NOUN = "template.registered.v1", "template"


class TwinRegistered(EntryRegistered):
    """An asset that executions are about, with its values."""

    TYPE, NOUN = "twin.registered.v1", "twin"


class ExperimentRegistered(EntryRegistered):
    """What executions in experiment mode may belong to."""

    TYPE, NOUN = "experiment.registered.v1", "experiment"


class TwinRemoved(EntryFact):
    """Nothing new may run on it; what has run keeps what it was told. Its versions go on if it comes back."""

    TYPE, NOUN = "twin.removed.v1", "twin"
    body_digest: Text | None = None
    keyed: bool = False
