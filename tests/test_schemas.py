"""The published contract: generated files match the code, and every example that was ever published still reads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter

from execution_ledger.messages.commands import COMMANDS
from execution_ledger.messages.events import EVENTS, decode_event, encode_event
from execution_ledger.messages.heartbeats import HEARTBEATS
from execution_ledger.messages.inbox import INBOX
from execution_ledger.messages.lines import LogLine
from execution_ledger.messages.reports import REPORTS
from execution_ledger.schemas import documents

SCHEMAS = Path(__file__).parent.parent / "schemas"
EXAMPLES = sorted((SCHEMAS / "examples").rglob("*.json"))
UNIONS: dict[str, TypeAdapter[Any]] = {
    "events": EVENTS,
    "commands": COMMANDS,
    "reports": REPORTS,
    "inbox": INBOX,
    "heartbeats": HEARTBEATS,
    "logs": TypeAdapter(LogLine),
}


def named(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def version_of(path: Path) -> str:
    """What a version took on later has an example of its own: `execution.queued.v1.linked` is one of that version."""
    return re.sub(r"(\.v\d+)\..*", r"\1", named(path))


def test_generated_files_are_what_the_code_says() -> None:
    generated = documents()
    on_disk = {
        str(path.relative_to(SCHEMAS)): path.read_text()
        for path in SCHEMAS.rglob("*")
        if path.is_file() and "examples" not in path.parts and path.name != "README.md"
    }
    assert on_disk.keys() == generated.keys(), "run `python -m execution_ledger.schemas`"
    changed = [name for name, text in generated.items() if on_disk[name] != text]
    assert not changed, "a published version never changes; a new shape needs a new version"


def test_every_version_has_an_example() -> None:
    versions = {name.removesuffix(".schema.json") for name in documents() if name.endswith(".schema.json")}
    assert {version_of(path) for path in EXAMPLES} == versions


@pytest.mark.parametrize("path", EXAMPLES, ids=named)
def test_an_example_still_reads_and_fits_its_schema(path: Path) -> None:
    raw = path.read_bytes().strip()
    message = UNIONS[path.parent.name].validate_json(raw)
    assert message.model_dump_json(exclude_none=True).encode() == raw
    schema = json.loads((SCHEMAS / f"{version_of(path)}.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(json.loads(raw))


@pytest.mark.parametrize("path", [path for path in EXAMPLES if path.parent.name == "events"], ids=named)
def test_an_event_is_a_cloudevent_to_the_cloudevents_package(path: Path) -> None:
    raw = path.read_bytes().strip()
    ours = decode_event(raw)
    theirs = JSONFormat().read(CloudEvent, raw)
    assert isinstance(theirs, CloudEvent)
    assert (theirs.get_id(), theirs.get_type(), theirs.get_subject()) == (ours.id, ours.type, ours.subject)
    assert theirs.get_extension("sequence") == f"{ours.sequence:020d}"
    assert theirs.get_data() == json.loads(raw)["data"]
    assert encode_event(ours) == raw
