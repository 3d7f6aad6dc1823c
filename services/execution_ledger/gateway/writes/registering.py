"""Registering: changes of the catalog, which all go to shard 0. Checked here to tell the caller, decided there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from execution_ledger.domain.catalog import CatalogCommand, complaints
from execution_ledger.messages.base import Message
from execution_ledger.messages.catalog import ENTRY_BYTES_MAX, Entry, Noun, Twin, noun_of
from execution_ledger.messages.commands import (
    RegisterExperiment,
    RegisterPipeline,
    RegisterTemplate,
    RegisterTwin,
    RemoveTwin,
)
from execution_ledger.messages.definition import Definition, default_files, wrong_in
from execution_ledger.messages.ids import CATALOG_SHARD
from execution_ledger.messages.payload import Payload, json_payload

from ..edge.problems import FieldError, invalid
from ..stream.tail import Tail
from .checking import payload_of
from .given_files import Sizes, missing
from .requests import digest_of_body
from .sending import Answer, Sender

DEFINITION_BYTES_MAX = 200_000

_COMMANDS: Mapping[Noun, type[RegisterTemplate] | type[RegisterTwin] | type[RegisterExperiment]] = {
    "template": RegisterTemplate,
    "twin": RegisterTwin,
    "experiment": RegisterExperiment,
}


class Registrar:
    def __init__(self, sender: Sender, tail: Tail, wait_s: float, sizes: Sizes) -> None:
        self._sender = sender
        self._tail = tail
        self._wait_s = wait_s
        self._sizes = sizes

    async def pipeline(
        self, definition: Definition, actor: str, key: str | None = None, traceparent: str | None = None
    ) -> Answer:
        """The same definition as the newest version's is a repeat, with that version as the answer."""
        if wrong := wrong_in(definition):
            raise invalid(*(FieldError(where, detail) for where, detail in wrong.items()))
        if definition.policy and (contradiction := definition.policy.contradiction()):
            raise invalid(FieldError("policy.retries", contradiction))
        defaults = [(f"inputs.{name}.default", ref) for name, ref in default_files(definition).items()]
        if errors := await missing(self._sizes, defaults):
            raise invalid(*errors)
        payload = definition_payload(definition)
        if payload.size > DEFINITION_BYTES_MAX:
            too_large = f"{payload.size:,} bytes, at most {DEFINITION_BYTES_MAX:,} are taken: shorten the descriptions"
            raise invalid(FieldError("", too_large))
        stamp = self._stamp(f"PUT /v1/pipelines/{definition.name}", actor, key, traceparent, definition)
        command = RegisterPipeline(pipeline=definition.name, digest=payload.sha256, definition=payload, **stamp)
        return await self._send(command)

    async def entry(
        self, name: str, entry: Entry, actor: str, key: str | None = None, traceparent: str | None = None
    ) -> Answer:
        """Registers it under the key `name`; the same content as the newest version's is a repeat.

        The catalog is read to its end first, so that nobody is refused for what was just mended elsewhere.
        """
        await self._tail.read_to_end(CATALOG_SHARD, self._wait_s)
        found = complaints(name, entry, self._tail.catalog.entries)
        errors = [FieldError(field, detail) for field, detail in found.items()]
        if isinstance(entry, Twin):
            payload_of("values", entry.values, errors)
        payload = None if errors else payload_of("body", entry.model_dump(exclude_none=True), errors, ENTRY_BYTES_MAX)
        if errors or payload is None:
            raise invalid(*errors)
        noun = noun_of(entry)
        stamp = self._stamp(f"PUT /v1/{noun}s/{name}", actor, key, traceparent, entry)
        return await self._send(_COMMANDS[noun](key=name, digest=payload.sha256, definition=payload, **stamp))

    async def remove_twin(
        self, name: str, actor: str, key: str | None = None, traceparent: str | None = None
    ) -> Answer:
        return await self._send(
            RemoveTwin(key=name, **self._stamp(f"DELETE /v1/twins/{name}", actor, key, traceparent))
        )

    async def _send(self, command: CatalogCommand) -> Answer:
        return await self._sender.send(CATALOG_SHARD, command)

    def _stamp(
        self, route: str, actor: str, key: str | None, traceparent: str | None, *body: Message
    ) -> dict[str, Any]:
        command_id, _ = self._sender.address(actor, route, key)
        return {
            "command_id": command_id,
            "actor": actor,
            "keyed": key is not None,
            "body_digest": digest_of_body(*body),
            "traceparent": traceparent,
        }


def definition_payload(definition: Definition) -> Payload:
    """Its digest is the version's identity."""
    return json_payload(definition.model_dump(exclude_none=True))
