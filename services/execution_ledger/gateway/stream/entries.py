"""Templates, twins and experiments as this gateway knows them: the newest version of each, from shard 0's events."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from execution_ledger.messages.catalog import ENTRIES, Entry, Noun, Template, Twin
from execution_ledger.messages.events import EntryRegistered, Event, TwinRemoved

from ..edge.problems import Refused, refused

ADDED = {  # how each comes to be, in the words of the command line
    "template": "exledger templates add {key}, or PUT /v1/templates/{key}",
    "twin": "exledger twins add {key}, or PUT /v1/twins/{key}",
    "experiment": "exledger experiments add {key}, or PUT /v1/experiments/{key}",
}


@dataclass(frozen=True, slots=True)
class KnownEntry:
    """`registered_ms` is the ledger's time."""

    key: str
    version: int
    digest: str
    definition: Entry
    registered_ms: int
    registered_by: str | None


class KnownEntries:
    def __init__(self) -> None:
        self._entries: dict[Noun, dict[str, KnownEntry]] = {noun: {} for noun in ENTRIES}

    def fold(self, event: Event) -> None:
        fact = event.data
        if isinstance(fact, TwinRemoved):
            self._entries[fact.NOUN].pop(fact.key, None)
        elif isinstance(fact, EntryRegistered):
            definition = ENTRIES[fact.NOUN].model_validate(fact.definition.value())
            known = KnownEntry(fact.key, fact.version, fact.digest, definition, event.recordedtime, event.actor)
            self._entries[fact.NOUN][fact.key] = known

    def find(self, noun: Noun, key: str) -> KnownEntry | None:
        return self._entries[noun].get(key)

    def knows(self, named: Iterable[tuple[Noun, str]]) -> bool:
        return all(key in self._entries[noun] for noun, key in named)

    def template(self, key: str) -> Template | None:
        found = self.find("template", key)
        return found.definition if found and isinstance(found.definition, Template) else None

    def twin(self, key: str) -> Twin | None:
        found = self.find("twin", key)
        return found.definition if found and isinstance(found.definition, Twin) else None

    def twins(self) -> Iterator[tuple[str, Twin]]:
        for key in self._entries["twin"]:
            if twin := self.twin(key):
                yield key, twin

    def page(self, noun: Noun, after: str, limit: int, template: str | None = None) -> list[KnownEntry]:
        """Those whose key comes after `after`, by key; of twins perhaps only those on one template."""
        entries = self._entries[noun]
        keys = sorted(key for key in entries if key > after and template in (None, _template_of(entries[key])))
        return [entries[key] for key in keys[:limit]]

    def missing(self, noun: Noun, key: str) -> str:
        """That it is not registered, and what to do about it."""
        near = difflib.get_close_matches(key, self._entries[noun], n=3)
        meant = f"Did you mean {' or '.join(near)}? Else register it" if near else "Register it"
        return f"no {noun} {key!r} is registered. {meant}: {ADDED[noun].format(key=key)}"

    def unknown(self, noun: Noun, key: str) -> Refused:
        said = self.missing(noun, key)
        return refused(f"unknown-{noun}", said[0].upper() + said[1:])


def _template_of(entry: KnownEntry) -> str | None:
    return entry.definition.template if isinstance(entry.definition, Twin) else None
