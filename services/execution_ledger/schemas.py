"""The published contract, generated: JSON Schema (2020-12) of every message version, and the HTTP API.

`python -m execution_ledger.schemas` writes the files of `schemas/`; a test fails when they differ from the code.
Examples are written by hand, one per version, and never change: every release must go on reading them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel

from .messages.commands import AnyCommand
from .messages.events import ENVELOPES, TYPE_PREFIX
from .messages.heartbeats import AnyHeartbeat
from .messages.inbox import AnyInboxMessage
from .messages.lines import LogLine
from .messages.reports import AnyReport

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def documents() -> dict[str, str]:
    """Every generated file: path below `schemas/` -> text."""
    from .gateway.app import openapi_document

    schemas: dict[str, type[BaseModel]] = {
        **{f"events/{name.removeprefix(TYPE_PREFIX)}": model for name, model in ENVELOPES.items()},
        **_by_type("commands", AnyCommand),
        **_by_type("reports", AnyReport),
        **_by_type("inbox", AnyInboxMessage),
        **_by_type("heartbeats", AnyHeartbeat),
        "logs/line.v1": LogLine,
    }
    files = {f"{name}.schema.json": _schema_text(name, model) for name, model in schemas.items()}
    return {**files, "openapi.yaml": yaml.safe_dump(openapi_document(), sort_keys=False, allow_unicode=True, width=120)}


def _by_type(folder: str, union: Any) -> dict[str, type[BaseModel]]:
    """The members of a discriminated union, by the word that tells them apart."""
    return {f"{folder}/{member.model_fields['type'].default}": member for member in get_args(union)}


def _schema_text(name: str, model: type[BaseModel]) -> str:
    schema = model.model_json_schema(mode="serialization")
    identified = {"$schema": DIALECT, "$id": f"urn:execution-ledger:{name.replace('/', ':')}", **schema}
    return json.dumps(identified, indent=2, ensure_ascii=False) + "\n"


def write(folder: Path) -> None:
    for path, text in documents().items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


if __name__ == "__main__":
    write(Path("schemas"))
