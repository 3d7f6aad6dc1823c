"""The catalog on shard 0: pipelines, templates, twins and experiments, each versioned by the digest of its content.

A twin always fits its template: what would change that is refused, so whoever runs on a twin need not ask again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from execution_ledger.messages.catalog import ENTRIES, Entry, Experiment, Template, Twin, wrong_values
from execution_ledger.messages.commands import (
    RegisterEntry,
    RegisterExperiment,
    RegisterPipeline,
    RegisterTemplate,
    RegisterTwin,
    RemoveTwin,
)
from execution_ledger.messages.definition import Definition, wrong_ports
from execution_ledger.messages.events import (
    EntryRegistered,
    ExperimentRegistered,
    Fact,
    PipelineRegistered,
    TemplateRegistered,
    TwinRegistered,
    TwinRemoved,
)
from execution_ledger.messages.parts import Refusal
from execution_ledger.messages.payload import Payload, unreadable

SHOWN_MAX = 5  # twins named in one message

CatalogCommand = RegisterPipeline | RegisterTemplate | RegisterTwin | RegisterExperiment | RemoveTwin


@dataclass(frozen=True, slots=True)
class Registration:
    """The newest version of something, by its subject. Nothing depends on a pipeline's definition, so it is left out;
    what was removed has none, nor a digest.
    """

    version: int
    digest: str | None
    sequence: int
    definition: Payload | None = None


Catalog = Mapping[str, Registration]


class Entries(Protocol):
    """What an entry is checked against."""

    def template(self, key: str) -> Template | None: ...

    def twin(self, key: str) -> Twin | None: ...

    def twins(self) -> Iterable[tuple[str, Twin]]: ...


def change(catalog: Catalog, command: CatalogCommand) -> list[Fact] | Refusal:
    """A new version, or nothing where the newest one has the same content.

    What every gateway has to read from the log for ever is read here first, whoever sent it.
    """
    newest = catalog.get(command.subject)
    version = newest.version + 1 if newest else 1
    match command:
        case RemoveTwin():
            return _remove(catalog, command, version)
        case RegisterPipeline() if wrong := _unusable(command):
            detail = f"This is no definition of {command.pipeline}: {wrong}"
            return Refusal(code="invalid_definition", detail=detail[:2_000])
        case RegisterEntry() if wrong := _wrong(catalog, command):
            detail = f"This cannot be {command.subject}: {wrong}"
            return Refusal(code="invalid_definition", detail=detail[:2_000])
        case _ if newest is not None and newest.digest == command.digest:
            return []
        case _:
            return [_registered(command, version)]


def _registered(command: RegisterPipeline | RegisterEntry, version: int) -> Fact:
    said = {name: getattr(command, name) for name in ("digest", "definition", "body_digest", "keyed")}
    if isinstance(command, RegisterPipeline):
        return PipelineRegistered(pipeline=command.pipeline, version=version, **said)
    return _FACTS[type(command)](key=command.key, version=version, **said)


_FACTS: Mapping[type[RegisterEntry], type[EntryRegistered]] = {
    RegisterTemplate: TemplateRegistered,
    RegisterTwin: TwinRegistered,
    RegisterExperiment: ExperimentRegistered,
}


def _remove(catalog: Catalog, command: RemoveTwin, version: int) -> list[Fact] | Refusal:
    entries = Kept(catalog)
    if entries.twin(command.key) is None:
        return Refusal(code="unknown_twin", detail=f"No twin {command.key!r} is registered.")
    if parts := [key for key, twin in entries.twins() if twin.parent == command.key]:
        detail = (
            f"{_shown(parts)} would be a part of nothing. Remove them first, or register them under another parent."
        )
        return Refusal(code="has_parts", detail=detail)
    return [TwinRemoved(key=command.key, version=version, body_digest=command.body_digest, keyed=command.keyed)]


def _unusable(command: RegisterPipeline) -> str | None:
    try:
        definition = Definition.model_validate(command.definition.value())
    except (ValueError, RecursionError) as error:  # no JSON, or no definition
        return str(error)
    return None if definition.name == command.pipeline else f"it is named {definition.name}."


def _wrong(catalog: Catalog, command: RegisterEntry) -> str | None:
    if wrong := unreadable(command.definition):
        return f"its text {wrong}"
    try:
        entry = ENTRIES[command.NOUN].model_validate(command.definition.value())
    except ValueError as error:
        return str(error)
    found = complaints(command.key, entry, Kept(catalog))
    return "; ".join(f"{field} {wrong}" for field, wrong in found.items())


NO_FILE = "cannot be file: keep the file in the data store and its path here, or make it an input of the pipelines"


# --- what fits ----------------------------------------------------------------------------------------------------


def complaints(key: str, entry: Entry, entries: Entries) -> dict[str, str]:
    """What keeps it from being registered under this key, by field; empty where nothing does."""
    match entry:
        case Template():
            wrong = {f"properties.{where}": why for where, why in wrong_ports(entry.properties).items()}
            wrong |= {
                f"properties.{name}.type": NO_FILE for name, port in entry.properties.items() if port.type == "file"
            }
            return wrong or _broken_twins(key, entry, entries)
        case Twin():
            return _misplaced(entry, entries) | _lost_parent(key, entry, entries)
        case Experiment():
            return {}


def _broken_twins(key: str, template: Template, entries: Entries) -> dict[str, str]:
    """A template may change as long as each of its twins fits it."""
    broken = [
        f"{name} ({', '.join(f'{value} {why}' for value, why in wrong.items())})"
        for name, twin in entries.twins()
        if twin.template == key and (wrong := wrong_values(template, twin.values))
    ]
    if not broken:
        return {}
    how = "Give a new property a default until each twin has its own value, and take one off its twins before it goes."
    return {"properties": f"would no longer fit {_shown(broken)}. {how}"}


def _misplaced(twin: Twin, entries: Entries) -> dict[str, str]:
    if twin.template is None:
        return {"values": "belong to a template: name it, or leave them out"} if twin.values else {}
    template = entries.template(twin.template)
    if template is None:
        first = f"exledger templates add {twin.template}, or PUT /v1/templates/{twin.template}"
        return {"template": f"{twin.template!r} is not registered. First: {first}"}
    return {f"values.{name}": wrong for name, wrong in wrong_values(template, twin.values).items()}


def _lost_parent(key: str, twin: Twin, entries: Entries) -> dict[str, str]:
    above = set[str]()
    parent = twin.parent
    while parent is not None and parent not in above:
        above.add(parent)
        found = entries.twin(parent)
        if found is None and parent != key:
            return {
                "parent": f"{parent!r} is not registered. First: exledger twins add {parent}, or PUT /v1/twins/{parent}"
            }
        parent = found.parent if found and parent != key else None
    return {"parent": f"{twin.parent!r} is {key!r} itself, or a part of it"} if key in above else {}


def _shown(names: list[str]) -> str:
    left_off = len(names) - SHOWN_MAX
    return ", ".join(sorted(names)[:SHOWN_MAX]) + (f" and {left_off} more" if left_off > 0 else "")


@dataclass(frozen=True, slots=True)
class Kept:
    """The entries of a shard's catalog, read when they are asked for: changes of it are few."""

    catalog: Catalog

    def template(self, key: str) -> Template | None:
        found = self.catalog.get(f"template/{key}")
        return Template.model_validate(found.definition.value()) if found and found.definition else None

    def twin(self, key: str) -> Twin | None:
        found = self.catalog.get(f"twin/{key}")
        return Twin.model_validate(found.definition.value()) if found and found.definition else None

    def twins(self) -> Iterator[tuple[str, Twin]]:
        for subject in self.catalog:
            noun, _, key = subject.partition("/")
            if noun == "twin" and (twin := self.twin(key)):
                yield key, twin
