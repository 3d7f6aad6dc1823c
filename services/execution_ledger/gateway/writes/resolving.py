"""What a request names of the catalog, and what its run gets from there: the twin's values among its properties. Pure.

They are resolved once, before the execution exists, so what is in the ledger is what the code was told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from execution_ledger.messages.catalog import Noun, Template, Twin, resolved
from execution_ledger.messages.definition import Definition, wrong_value

from ..edge.problems import FieldError
from ..stream.entries import KnownEntries
from .requests import ExecutionRequest


@dataclass(frozen=True, slots=True)
class Resolved:
    """`own` are the names of the properties that the caller gave, where others are the twin's."""

    properties: dict[str, Any] | None = None
    own: list[str] | None = None
    template: str | None = None


def named_in(request: ExecutionRequest) -> Iterator[tuple[Noun, str]]:
    if request.twin is not None:
        yield "twin", request.twin
    if request.experiment is not None:
        yield "experiment", request.experiment


def resolve(
    request: ExecutionRequest, definition: Definition, entries: KnownEntries, errors: list[FieldError]
) -> Resolved:
    """What is wrong is added to `errors`."""
    errors += _of_experiment(request, entries)
    twin = entries.twin(request.twin) if request.twin is not None else None
    if wrong := _of_twin(request, definition, twin, entries):
        errors.append(FieldError("twin", wrong))
    template = entries.template(twin.template) if twin and twin.template else None
    if twin is None or template is None:
        return Resolved(request.properties)
    given = request.properties or {}
    errors += _of_properties(template, given)
    return Resolved(resolved(template, twin, given), sorted(given), twin.template)


def _of_experiment(request: ExecutionRequest, entries: KnownEntries) -> Iterator[FieldError]:
    if request.experiment is None:
        return
    if request.mode != "experiment":
        yield FieldError("experiment", 'is for mode "experiment" alone')
    if entries.find("experiment", request.experiment) is None:
        yield FieldError("experiment", entries.missing("experiment", request.experiment))


def _of_twin(request: ExecutionRequest, definition: Definition, twin: Twin | None, entries: KnownEntries) -> str | None:
    wanted = definition.template
    if request.twin is None:
        return f"is required: {definition.name} runs on twins of template {wanted}" if wanted else None
    if twin is None:
        return entries.missing("twin", request.twin)
    if wanted is None or twin.template == wanted:
        return None
    there = f"on template {twin.template}" if twin.template else "on no template"
    return f"{request.twin!r} is {there}, and {definition.name} runs on twins of template {wanted}"


def _of_properties(template: Template, given: dict[str, Any]) -> Iterator[FieldError]:
    """The caller may overrule a twin's value, but only with one that fits."""
    for name, port in template.properties.items():
        if name in given and (wrong := wrong_value(port, given[name])):
            yield FieldError(f"properties.{name}", wrong)
