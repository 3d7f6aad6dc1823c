"""What the catalog holds beside pipelines: templates, the twins that are on them, and experiments.

Each is registered as JSON under a key of its own, and has a version for each content that it ever had. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from .definition import Declared, Ports, check_ports
from .ids import Key
from .parts import Labels, Reason, Text
from .payload import Payload, json_payload

ENTRY_BYTES_MAX = 200_000


class Template(Declared):
    """A kind of asset: what each of its twins says of itself, and has a run on it told."""

    name: Text | None = None
    description: Reason | None = None
    properties: Ports = Field(default_factory=dict)
    labels: Labels | None = None


class Twin(Declared):
    """An asset. It is on one template at most, to which its `values` belong, and a part of at most one `parent`."""

    name: Text | None = None
    description: Reason | None = None
    template: Key | None = None
    values: dict[str, Any] = Field(default_factory=dict)
    parent: Key | None = None
    labels: Labels | None = None


class Experiment(Declared):
    """What executions in experiment mode may belong to."""

    name: Annotated[Text, StringConstraints(min_length=1)]
    description: Reason | None = None
    labels: Labels | None = None


Noun = Literal["template", "twin", "experiment"]
Entry = Template | Twin | Experiment
ENTRIES: Mapping[Noun, type[Entry]] = {"template": Template, "twin": Twin, "experiment": Experiment}


def noun_of(entry: Entry) -> Noun:
    return next(noun for noun, kind in ENTRIES.items() if type(entry) is kind)


def entry_payload(entry: Entry) -> Payload:
    """Its digest is the version's identity. Raises as `json_text` does."""
    return json_payload(entry.model_dump(exclude_none=True))


def wrong_values(template: Template, values: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with a twin's values, by name."""
    return check_ports(template.properties, values, "a property of its template")[1]


def resolved(template: Template, twin: Twin, given: Mapping[str, Any]) -> dict[str, Any]:
    """What a run gets: the caller's word before the twin's, and that before the template's defaults."""
    return {**check_ports(template.properties, twin.values, "")[0], **given}
