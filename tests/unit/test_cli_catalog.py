"""`exledger templates`, `twins` and `experiments`, and what a run says of them: what is sent, and what is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from unit.cli_stage import fake_ledger
from unit.test_cli_commands import QUEUED, FakeLedger, exledger

ADDED = {"key": "k", "version": 3, "digest": "d", "position": "0.9", "command_id": "c"}
TEMPLATE = {"definition": {"properties": {"kw": {"type": "number"}, "code": {"type": "string"}}}}
RECORD = {
    "key": "pump-7",
    "version": 2,
    "digest": "d",
    "definition": {"name": "Seven", "description": None, "template": "pump", "values": {"kw": 7.5}, "parent": None},
    "registered_at": "2026-01-02T03:04:05.000Z",
    "registered_by": "ada",
}


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> FakeLedger:
    return fake_ledger(monkeypatch)


def put(ledger: FakeLedger) -> dict[str, Any]:
    """What was registered, by its address."""
    asked = [request for request in ledger.requests if request.method == "PUT"]
    return {request.url.path: json.loads(request.content) for request in asked}


def test_a_template_is_put_together_from_options(ledger: FakeLedger) -> None:
    ledger.on("PUT", "/v1/templates/pump", ADDED)
    result = exledger(
        *("templates", "add", "pump", "--name", "Pump", "--label", "team=blue", "--property", "kw=number"),
        *("--property", 'site={"type": "string", "required": false}'),
    )
    assert (result.exit_code, result.stdout) == (0, "template pump  version 3\n")
    properties = {"kw": {"type": "number"}, "site": {"type": "string", "required": False}}
    assert put(ledger) == {"/v1/templates/pump": {"name": "Pump", "labels": {"team": "blue"}, "properties": properties}}


def test_a_twins_values_are_read_by_the_types_of_its_template(ledger: FakeLedger) -> None:
    ledger.on("GET", "/v1/templates/pump", TEMPLATE)
    ledger.on("PUT", "/v1/twins/pump-7", ADDED)
    result = exledger(
        "twins", "add", "pump-7", "--template", "pump", "-v", "kw=7.5", "-v", "code=12", "--parent", "line"
    )
    assert result.exit_code == 0
    values = {"kw": 7.5, "code": "12"}
    assert put(ledger) == {"/v1/twins/pump-7": {"template": "pump", "parent": "line", "values": values}}


def test_a_file_holds_one_or_many_by_key(ledger: FakeLedger, tmp_path: Path) -> None:
    for key in ("a", "b"):
        ledger.on("PUT", f"/v1/twins/{key}", ADDED)
    one, many = tmp_path / "one.json", tmp_path / "many.json"
    one.write_text('{"name": "A", "template": "pump"}')
    many.write_text('{"a": {"name": "A"}, "b": {}}')
    assert exledger("twins", "add", "a", "--from", str(one), "--name", "Alpha").exit_code == 0
    assert put(ledger) == {"/v1/twins/a": {"name": "Alpha", "template": "pump"}}
    assert exledger("twins", "add", "--from", str(many)).exit_code == 0
    assert put(ledger) == {"/v1/twins/a": {"name": "A"}, "/v1/twins/b": {}}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["twins", "add"], "Name one KEY"),
        (["twins", "add", "--name", "x", "--from", "FILE"], "Name one KEY"),
        (["twins", "add", "a", "--from", "BROKEN"], "is no JSON"),
        (["twins", "add", "a", "--from", "LIST"], "holds no object"),
        (["twins", "add", "--from", "TWICE"], "The key 'a' occurs twice"),
        (["twins", "add", "a", "-v", "kw"], "is not a pair"),
        (["templates", "add", "a", "--property", "kw={"], "kw is no JSON"),
        (["templates", "add", "a", "--property", "kw=number", "--property", "kw=string"], "given twice"),
        (["experiments", "add"], "Name one KEY"),
    ],
)
def test_what_cannot_be_sent_is_refused_in_words(
    ledger: FakeLedger, tmp_path: Path, arguments: list[str], said: str
) -> None:
    for name, text in {"FILE": '{"a": {}}', "BROKEN": "{", "LIST": "[1]", "TWICE": '{"a": {}, "a": {}}'}.items():
        (tmp_path / name).write_text(text)
    result = exledger(*(str(tmp_path / part) if part.isupper() else part for part in arguments))
    assert result.exit_code == 2
    assert said in result.stderr
    assert not ledger.requests


def test_which_of_many_was_refused_is_said(ledger: FakeLedger, tmp_path: Path) -> None:
    many = tmp_path / "many.json"
    many.write_text('{"a": {}, "b": {}}')
    ledger.on("PUT", "/v1/twins/a", ADDED)
    ledger.on("PUT", "/v1/twins/b", {"title": "No", "detail": "it has no template"}, status=422)
    result = exledger("twins", "add", "--from", str(many))
    assert (result.exit_code, result.stdout.split()[:2]) == (2, ["twin", "a"])
    assert "twin b, and so none after it: it has no template" in result.stderr


def test_an_experiment_is_named_by_its_key_where_nobody_says_more(ledger: FakeLedger) -> None:
    ledger.on("PUT", "/v1/experiments/winter", ADDED)
    assert exledger("experiments", "add", "winter").exit_code == 0
    assert exledger("experiments", "add", "winter", "--name", "Winter season", "--json").exit_code == 0
    assert put(ledger) == {"/v1/experiments/winter": {"name": "Winter season"}}


def test_twins_are_listed_shown_and_removed(ledger: FakeLedger) -> None:
    ledger.on("GET", "/v1/twins", {"items": [RECORD], "next": None, "position": "0.9"})
    ledger.on("GET", "/v1/twins/pump-7", {**RECORD, "properties": {"kw": 7.5, "site": "north"}, "position": "0.9"})
    ledger.on("DELETE", "/v1/twins/pump-7", ADDED)
    listed = exledger("twins", "list", "--template", "pump")
    assert listed.stdout.splitlines()[1].split() == ["pump-7", "2", "Seven", "pump", '{"kw":', "7.5}"]
    assert dict(ledger.requests[0].url.params) == {"template": "pump", "limit": "100"}
    shown = exledger("twins", "show", "pump-7").stdout
    assert '{"kw": 7.5, "site": "north"}' in shown
    assert "parent" not in shown
    assert exledger("twins", "remove", "pump-7").stdout == "twin pump-7  removed\n"
    ledger.on("GET", "/v1/templates/pump", {**RECORD, **TEMPLATE})
    assert "kw: number" in exledger("templates", "show", "pump").stdout
    ledger.on("GET", "/v1/experiments", {"items": [], "next": None, "position": "0.9"})
    assert "exledger experiments add KEY" in exledger("experiments", "list").stderr


def test_what_is_safe_in_the_log_and_not_decided_says_so(ledger: FakeLedger) -> None:
    ledger.on("PUT", "/v1/twins/pump-7", {"status": "received", "command_id": "c"}, status=202)
    result = exledger("twins", "add", "pump-7")
    assert result.exit_code == 0
    assert "not decided yet" in result.stderr


@pytest.mark.parametrize("again", [False, True])
def test_a_run_says_its_mode_options_experiment_and_properties(ledger: FakeLedger, again: bool) -> None:
    ledger.on("POST", "/v1/executions", QUEUED, status=201)
    ledger.on("GET", "/v1/executions/double-401", {**QUEUED, "pipeline": "double", "pipeline_version": 1})
    ledger.on("POST", f"/v1/executions/{QUEUED['id']}/rerun", QUEUED, status=201)
    command = ("rerun", "double-401") if again else ("run", "double")
    result = exledger(
        *(*command, "--mode", "experiment", "--experiment", "winter", "--no-plot", "--write"),
        *("--property", "kw=8", "-p", "site=north"),
    )
    assert result.exit_code == 0, result.stderr
    [posted] = ledger.posted()
    assert (posted["mode"], posted["experiment"]) == ("experiment", "winter")
    assert posted["options"] == {"plot": False, "write": True}
    assert posted["properties"] == {"kw": 8, "site": "north"}


def test_a_list_is_narrowed_to_an_experiment_a_template_and_a_trigger(ledger: FakeLedger) -> None:
    for path in ("/v1/executions", "/v1/executions/stats"):
        ledger.on("GET", path, {"items": [], "next": None, "left_off": 0, "position": "1.1"})
    narrow = ("--experiment", "winter", "--template", "pump", "--trigger", "batch")
    assert exledger("list", *narrow, "--sort", "twin").exit_code == 0
    assert exledger("stats", "--by", "experiment", *narrow).exit_code == 0
    for request in ledger.requests:
        asked = dict(request.url.params)
        assert (asked["experiment"], asked["template"], asked["trigger"]) == ("winter", "pump", "batch")
