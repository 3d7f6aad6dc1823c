"""What a ledger answers of templates, twins and experiments, with types, as `records.py` says."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from .records import Port, Record


class Registered(Record):
    """What a template, a twin or an experiment was registered as; the same version again for the same content."""

    key: str
    version: int
    digest: str


class Entry(Registered):
    """In its newest version."""

    registered_at: datetime
    registered_by: str | None


class TemplateDefinition(Record):
    """`properties` are what each of its twins says of itself."""

    name: str | None = None
    description: str | None = None
    properties: dict[str, Port]
    labels: dict[str, str] | None = None


class Template(Entry):
    """A kind of asset."""

    definition: TemplateDefinition


class TwinDefinition(Record):
    """`values` are those of its template's properties; `parent` is the twin that it is a part of."""

    name: str | None = None
    description: str | None = None
    template: str | None = None
    values: dict[str, Any]
    parent: str | None = None
    labels: dict[str, str] | None = None


class Twin(Entry):
    """An asset. `properties` are what a run on it gets; in a list they are left out."""

    definition: TwinDefinition
    properties: dict[str, Any] | None = None


class ExperimentDefinition(Record):
    name: str
    description: str | None = None
    labels: dict[str, str] | None = None


class Experiment(Entry):
    """What executions in experiment mode may belong to."""

    definition: ExperimentDefinition
