"""What there is to run on: `client.templates`, `client.twins`, `client.experiments`.

client.templates.put("pump", {"rated_kw": {"type": "number", "min": 0}})
client.twins.put("pump-7", template="pump", values={"rated_kw": 7.5})
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..records.entries import Experiment, Registered, Template, Twin
from .address import entry_path

if TYPE_CHECKING:
    from .client import Client

PAGE_SIZE = 100
Labels = Mapping[str, str]


class _Entries:
    """What all three share. Registering the same content again changes nothing; other content is a new version."""

    NOUN: str

    def __init__(self, client: Client) -> None:
        self._client = client

    def _put(self, key: str, **definition: Any) -> Registered:
        given = {name: value for name, value in definition.items() if value is not None}
        return Registered.read(self._client.write("PUT", entry_path(self.NOUN, key), given))

    def _get(self, key: str) -> dict[str, Any]:
        return self._client.connection.get(entry_path(self.NOUN, key))

    def _all(self, **filters: Any) -> Iterator[dict[str, Any]]:
        return self._client.connection.pages(f"/v1/{self.NOUN}s", filters, PAGE_SIZE)


class Templates(_Entries):
    """Kinds of assets."""

    NOUN = "template"

    def put(
        self,
        key: str,
        properties: Mapping[str, str | Mapping[str, Any]],
        *,
        name: str | None = None,
        description: str | None = None,
        labels: Labels | None = None,
    ) -> Registered:
        """Each property is a type's name, or {"type": …, "required": …, "default": …, "enum": …, "min": …, "max": …}.

        Raises BadRequest for a change that would leave some of its twins without a value that they need.
        """
        ports = {name: {"type": port} if isinstance(port, str) else dict(port) for name, port in properties.items()}
        return self._put(key, properties=ports, name=name, description=description, labels=labels)

    def get(self, key: str) -> Template:
        return Template.read(self._get(key))

    def all(self) -> Iterator[Template]:
        """By key."""
        return map(Template.read, self._all())


class Twins(_Entries):
    """The assets that executions are about."""

    NOUN = "twin"

    def put(
        self,
        key: str,
        *,
        template: str | None = None,
        values: Mapping[str, Any] | None = None,
        name: str | None = None,
        description: str | None = None,
        parent: str | None = None,
        labels: Labels | None = None,
    ) -> Registered:
        """All of it: what is left out is gone. Raises BadRequest for values that do not fit the template, by name."""
        given = None if values is None else dict(values)
        about = {"name": name, "description": description, "parent": parent, "labels": labels}
        return self._put(key, template=template, values=given, **about)

    def get(self, key: str) -> Twin:
        """With `properties`, which are what a run on it gets."""
        return Twin.read(self._get(key))

    def all(self, template: str | None = None) -> Iterator[Twin]:
        """By key; perhaps only those on one template. Without `properties`."""
        return map(Twin.read, self._all(template=template))

    def remove(self, key: str) -> None:
        """Nothing new runs on it then. Raises BadRequest for one that is not registered, or that others are part of."""
        self._client.write("DELETE", entry_path(self.NOUN, key), None)


class Experiments(_Entries):
    """What executions in experiment mode belong to."""

    NOUN = "experiment"

    def put(self, key: str, name: str, *, description: str | None = None, labels: Labels | None = None) -> Registered:
        return self._put(key, name=name, description=description, labels=labels)

    def get(self, key: str) -> Experiment:
        return Experiment.read(self._get(key))

    def all(self) -> Iterator[Experiment]:
        """By key."""
        return map(Experiment.read, self._all())
