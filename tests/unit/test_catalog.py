"""Templates, twins and experiments in the ledger: versioned by content, and a twin always fits its template."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from execution_ledger.domain.catalog import Kept
from execution_ledger.messages.catalog import Template
from execution_ledger.messages.commands import (
    AnyCommand,
    RegisterEntry,
    RegisterExperiment,
    RegisterTemplate,
    RegisterTwin,
    RemoveTwin,
)
from execution_ledger.messages.events import Event
from execution_ledger.messages.payload import Payload, json_payload
from unit.test_deciding import Ledger, replayed, types

PUMP = {"properties": {"rated_kw": {"type": "number", "min": 0}, "site": {"type": "string", "required": False}}}
_ids = count()


def enter(kind: type[RegisterEntry], key: str, body: Any) -> AnyCommand:
    payload = body if isinstance(body, Payload) else json_payload(body)
    command: AnyCommand = kind(  # type: ignore[assignment]  # one of the three
        command_id=f"enter-{next(_ids)}", actor="ada", key=key, digest=payload.sha256, definition=payload
    )
    return command


def remove(key: str) -> RemoveTwin:
    return RemoveTwin(command_id=f"remove-{next(_ids)}", actor="ada", key=key)


def with_pump(*twins: str) -> Ledger:
    ledger = Ledger(shard=0)
    ledger.do(enter(RegisterTemplate, "pump", PUMP))
    ledger.do(*(enter(RegisterTwin, twin, {"template": "pump", "values": {"rated_kw": 7}}) for twin in twins))
    return ledger


def refusal(happened: list[Event]) -> tuple[str, str]:
    [event] = happened
    return event.data.refusal.code, event.data.refusal.detail


def test_each_content_is_a_version_and_the_same_again_is_a_repeat() -> None:
    ledger = with_pump("pump-7")
    same = enter(RegisterTwin, "pump-7", {"template": "pump", "values": {"rated_kw": 7}})
    other = enter(RegisterTwin, "pump-7", {"template": "pump", "values": {"rated_kw": 8}})
    repeated, changed, back = ledger.do(same, other, same.model_copy(update={"command_id": "back"}))
    assert types([repeated, changed, back]) == ["command.repeated", "twin.registered", "twin.registered"]
    assert (repeated.data.first.version, changed.data.version, back.data.version) == (1, 2, 3)
    assert (changed.subject, changed.version) == ("twin/pump-7", None)
    assert replayed(ledger) == ledger.state


def test_a_removed_twin_is_unknown_until_it_comes_back_as_the_next_version() -> None:
    ledger = with_pump("pump-7")
    removed, again, back = ledger.do(
        remove("pump-7"),
        remove("pump-7"),
        enter(RegisterTwin, "pump-7", {"template": "pump", "values": {"rated_kw": 7}}),
    )
    assert types([removed, again, back]) == ["twin.removed", "command.rejected", "twin.registered"]
    assert (removed.data.version, again.data.refusal.code, back.data.version) == (2, "unknown_twin", 3)
    assert replayed(ledger) == ledger.state


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"template": "pump"}, "values.rated_kw is required (number)"),
        ({"template": "pump", "values": {"rated_kw": "7"}}, "values.rated_kw must be a number, not a string"),
        ({"template": "pump", "values": {"rated_kw": -1}}, "values.rated_kw must be at least 0"),
        ({"template": "pump", "values": {"rated_kw": 1, "kw": 2}}, "values.kw is not a property of its template"),
        ({"template": "valve"}, "template 'valve' is not registered"),
        ({"values": {"rated_kw": 1}}, "values belong to a template"),
        ({"parent": "line-1"}, "parent 'line-1' is not registered"),
        ({"parent": "pump-7"}, "parent 'pump-7' is 'pump-7' itself"),
        ({"colour": "red"}, "colour"),
        (Payload(sha256="0", size=1, inline="{"), "its text is no JSON"),
        (Payload(sha256="0", size=1, inline='{"name":NaN}'), "NaN is not JSON"),
        (Payload(sha256="0", size=1, inline="[]"), "is no object of JSON"),
        (Payload(sha256="0", size=1, inline="[" * 100_000), "its text is no JSON"),
    ],
)
def test_a_twin_that_does_not_fit_is_refused_by_name(body: Any, said: str) -> None:
    code, detail = refusal(with_pump().do(enter(RegisterTwin, "pump-7", body)))
    assert code == "invalid_definition"
    assert "twin/pump-7" in detail
    assert said in detail


def test_a_twin_is_no_part_of_its_own_parts() -> None:
    ledger = Ledger(shard=0)
    ledger.do(enter(RegisterTwin, "plant", {}), enter(RegisterTwin, "line", {"parent": "plant"}))
    ledger.do(enter(RegisterTwin, "pump", {"parent": "line"}))
    assert (
        "'pump' is 'plant' itself, or a part of it"
        in refusal(ledger.do(enter(RegisterTwin, "plant", {"parent": "pump"})))[1]
    )
    code, detail = refusal(ledger.do(remove("line")))
    assert (code, detail.split()[0]) == ("has_parts", "pump")
    assert types(ledger.do(remove("pump"), remove("line"))) == ["twin.removed", "twin.removed"]


@pytest.mark.parametrize(
    "properties",
    [
        {"rated_kw": {"type": "string"}},
        {"rated_kw": {"type": "number", "max": 6}},
        {"site": {"type": "string", "required": False}},
        {**PUMP["properties"], "colour": {"type": "string"}},
    ],
)
def test_a_template_never_leaves_its_twins_behind(properties: dict[str, Any]) -> None:
    """Else a run on a twin could get what its pipeline cannot use, long after anybody was asked."""
    ledger = with_pump(*(f"pump-{n}" for n in range(7)))
    code, detail = refusal(ledger.do(enter(RegisterTemplate, "pump", {"properties": properties})))
    assert code == "invalid_definition"
    assert "pump-0 (" in detail
    assert "and 2 more" in detail
    assert Kept(ledger.state.catalog).template("pump") == Template.model_validate(PUMP)


def test_a_template_may_grow_by_what_has_a_default_and_shrink_once_no_twin_uses_it() -> None:
    ledger = with_pump("pump-7")
    wider = {**PUMP["properties"], "colour": {"type": "string", "required": False, "default": "red"}}
    assert types(ledger.do(enter(RegisterTemplate, "pump", {"properties": wider}))) == ["template.registered"]
    assert types(ledger.do(remove("pump-7"))) == ["twin.removed"]
    assert types(ledger.do(enter(RegisterTemplate, "pump", {}))) == ["template.registered"]


def test_a_property_is_no_file() -> None:
    """Nothing would look whether it is there, and code would get the reference: files are inputs, or data."""
    body = {"properties": {"curve": {"type": "file"}}}
    code, detail = refusal(Ledger(shard=0).do(enter(RegisterTemplate, "pump", body)))
    assert code == "invalid_definition"
    assert "properties.curve.type cannot be file: keep the file in the data store" in detail


def test_a_value_that_may_be_left_out_may_be_null() -> None:
    ledger = with_pump()
    body = {"template": "pump", "values": {"rated_kw": 7, "site": None}}
    assert types(ledger.do(enter(RegisterTwin, "pump-7", body))) == ["twin.registered"]


def test_what_is_of_the_catalog_lives_on_shard_0_alone() -> None:
    commands = [enter(RegisterExperiment, "e", {"name": "E"}), remove("pump-7")]
    for command in commands:
        assert refusal(Ledger().do(command))[0] == "wrong_shard"
    assert types(Ledger(shard=0).do(commands[0])) == ["experiment.registered"]
    assert refusal(Ledger(shard=0).do(enter(RegisterExperiment, "e", {"name": ""})))[0] == "invalid_definition"
