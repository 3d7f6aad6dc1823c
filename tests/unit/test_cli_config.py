"""`config`, `schemas`, `bench`, and what every command's help has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer.main
from typer.testing import CliRunner

from execution_ledger.cli import app, bench
from execution_ledger.cli.terminal.examples import EXAMPLES
from unit.cli_stage import fake_ledger
from unit.test_cli_commands import COMPLETED, ID, QUEUED, FakeLedger, exledger

SECRET = "s3cret"


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> FakeLedger:
    return fake_ledger(monkeypatch)


# --- config -----------------------------------------------------------------------------------------------------


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing is set that says EXLEDGER."""
    for name in list(os.environ):
        if name.startswith("EXLEDGER"):
            monkeypatch.delenv(name)
    return monkeypatch


def shown() -> dict[str, tuple[Any, str]]:
    rows = [json.loads(line) for line in exledger("config", "show", "--json").stdout.splitlines()]
    return {row["variable"]: (row["value"], row["source"]) for row in rows}


def test_config_names_each_variable_and_where_its_value_comes_from(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("EXLEDGER__KAFKA__SHARDS", "8")
    bare.setenv("EXLEDGER__LEDGER", '{"tick_s": 0.5}')
    settings = shown()
    assert settings["EXLEDGER__KAFKA__SHARDS"] == (8, "environment")
    assert settings["EXLEDGER__LEDGER__TICK_S"] == (0.5, "environment")
    assert settings["EXLEDGER__KAFKA__INBOX_PARTITIONS"] == (2, "default")
    assert settings["EXLEDGER__JSON_LOGS"] == (None, "default")


WRONG = [
    ("EXLEDGER__OBJECTS__OPTIONS", "aws_region=x", "EXLEDGER__OBJECTS__OPTIONS: is no JSON"),
    ("EXLEDGER__GATEWAY__DISK_FOLDERS", "/data", "EXLEDGER__GATEWAY__DISK_FOLDERS: is no JSON"),
    ("EXLEDGER__KAFKA", "kafka-1:9092", "EXLEDGER__KAFKA: is no JSON"),
    ("EXLEDGER__KAFKA__SHARD", "4", "EXLEDGER__KAFKA__SHARD: is no setting"),
    ("EXLEDGER__LEDGER__KEYED_MS", "-1", "EXLEDGER__LEDGER__KEYED_MS: "),
    ("EXLEDGER__LEDGER__BATCH_RECORDS_MAX", "0", "EXLEDGER__LEDGER__BATCH_RECORDS_MAX: "),
    ("EXLEDGER__DISPATCHER__TICK_S", "3", "EXLEDGER__DISPATCHER__TICK_S: "),
    ("EXLEDGER__DISPATCHER__LEASE_S", "inf", "EXLEDGER__DISPATCHER__LEASE_S: "),
    ("EXLEDGER__GATEWAY__READ_WAIT_S", "nan", "EXLEDGER__GATEWAY__READ_WAIT_S: "),
    ("EXLEDGER__RUNNER__HEARTBEAT_S", "15", "more than a third of EXLEDGER__RUNNER__LEASE_S"),
    ("EXLEDGER__RUNNER__LEASE_S", "60", "longer than EXLEDGER__DISPATCHER__LEASE_S"),
    ("EXLEDGER__POSTGRES__DSN", "host=db password=s3cret", "it begins with postgresql://"),
    ("EXLEDGER__KAFKA__BOOTSTRAP_SERVERS", "", "is no host:port"),
    ("EXLEDGER__KAFKA__BOOTSTRAP_SERVERS", "kafka-1:9092,kafka-2", "'kafka-2' is no host:port"),
    ("EXLEDGER__KAFKA__BOOTSTRAP_SERVERS", "kafka-1:70000", "is no host:port"),
    ("EXLEDGER__KAFKA__TOPIC_PREFIX", "my topics/", "EXLEDGER__KAFKA__TOPIC_PREFIX: "),
]


@pytest.mark.parametrize(("variable", "value", "says"), WRONG, ids=[f"{name}={value}" for name, value, _ in WRONG])
def test_a_setting_that_cannot_be_used_is_named(bare: pytest.MonkeyPatch, variable: str, value: str, says: str) -> None:
    bare.setenv(variable, value)
    done = exledger("config", "show")
    assert done.exit_code == 2
    assert says in done.stderr
    assert SECRET not in done.stderr


def test_config_shows_no_secret(bare: pytest.MonkeyPatch) -> None:
    secrets = (
        "EXLEDGER__GATEWAY__TOKEN",
        "EXLEDGER__POSTGRES__DSN",
        "EXLEDGER__GATEWAY__TOKEN_SHA256",
        "EXLEDGER_TOKEN",
    )
    for name in secrets:
        bare.setenv(name, f"postgresql://{SECRET}@db" if name.endswith("DSN") else SECRET)
    for arguments in ((), ("--json",)):
        result = exledger("config", "show", *arguments)
        assert SECRET not in result.output
    assert {shown()[name] for name in secrets} == {("********", "environment")}


def started(*arguments: str, stdout: Any, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "execution_ledger", *arguments]
    return subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, timeout=30, env=os.environ | environ
    )


@pytest.mark.parametrize("arguments", [("config", "show"), ("config", "show", "--json")])
def test_nobody_who_reads_is_an_exit_code_of_its_own(arguments: tuple[str, ...]) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    done = started(*arguments, stdout=writes)
    os.close(writes)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
def test_a_full_disk_behind_the_output_is_said_in_a_line() -> None:
    with open("/dev/full", "w") as full:
        done = started("config", "show", stdout=full)
    assert (done.returncode, done.stderr) == (3, "Error: The output cannot be written: No space left on device.\n")


def test_what_a_terminal_cannot_show_is_replaced() -> None:
    options = {"PYTHONIOENCODING": "ascii", "EXLEDGER__RUNNER__APP": "größe"}
    done = started("config", "show", stdout=subprocess.PIPE, **options)
    assert (done.returncode, done.stderr) == (0, "")
    assert "gr??e" in done.stdout


def test_config_shows_settings_that_hold_several_values(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("EXLEDGER__OBJECTS__OPTIONS", json.dumps({"aws_secret_access_key": SECRET}))
    bare.setenv("EXLEDGER__GATEWAY__DISK_FOLDERS", '["/var"]')
    assert SECRET not in exledger("config", "show").output
    assert shown()["EXLEDGER__OBJECTS__OPTIONS"] == ({"aws_secret_access_key": "**********"}, "environment")
    assert shown()["EXLEDGER__GATEWAY__DISK_FOLDERS"] == (["/var"], "environment")


def test_config_points_at_what_is_no_setting(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("EXLEDGER__KAFAK__SHARDS", "8")
    bare.setenv("EXLEDGER__KAFKA", "{}")
    assert exledger("config", "show").stderr == "EXLEDGER__KAFAK__SHARDS is set, and is no setting. Is it misspelt?\n"


def test_a_setting_that_cannot_be_used_is_exit_code_2(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("EXLEDGER__KAFKA__SHARDS", "one")
    result = exledger("config", "show")
    assert result.exit_code == 2
    assert "EXLEDGER__KAFKA__SHARDS" in result.stderr


# --- schemas ----------------------------------------------------------------------------------------------------


def test_what_was_written_passes_the_check_and_what_was_changed_does_not(tmp_path: Path) -> None:
    folder = ("--dir", str(tmp_path / "contract"))
    assert exledger("schemas", "write", *folder).exit_code == 0
    (tmp_path / "contract" / "README.md").write_text("by hand")
    assert exledger("schemas", "check", *folder).exit_code == 0
    (tmp_path / "contract" / "openapi.yaml").write_text("openapi: 2")
    (tmp_path / "contract" / "events" / "old.v1.schema.json").write_text("{}")
    next((tmp_path / "contract" / "inbox").iterdir()).unlink()
    result = exledger("schemas", "check", *folder)
    assert result.exit_code == 1
    told = {line.rpartition(": ")[2] for line in result.stderr.splitlines() if line.startswith("  ")}
    assert told == {"is missing", "is no longer written", "differs"}
    assert "exledger schemas write --dir" in result.stderr


def test_a_folder_that_cannot_be_written_to_is_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = exledger("schemas", "write", "--dir", str(tmp_path / "file"))
    assert result.exit_code == 2
    assert "--dir" in result.stderr


# --- bench ------------------------------------------------------------------------------------------------------


def test_latency_measures_three_things_each_by_itself(ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "WARM_UP", 1)
    ledger.on("GET", "/v1/pipelines/stamp", {})
    ledger.on("POST", "/v1/executions", QUEUED)
    ledger.on("GET", "/v1/executions", {"items": []}, {"items": [QUEUED]})

    def ended(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=COMPLETED | {"outputs": {"began": time.time()}})

    ledger._routes["GET", f"/v1/executions/{ID}"] = ended
    result = exledger("bench", "latency", "--count", "3", "--json")
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert told["count"] == 3
    assert told["cores"] > 0
    assert list(told["latency_ms"]) == ["first line", "in the list", "completed visible"]
    for each in told["latency_ms"].values():
        assert 0 < each["p50"] <= each["p99"] <= each["max"]
    assert told["latency_ms"]["first line"]["p50"] >= bench.QUIET_S * 1_000
    assert len(ledger.posted()) == 3 * (3 + 1)


def test_latency_without_the_stamp_pipeline_says_where_it_is(ledger: FakeLedger) -> None:
    ledger.on("GET", "/v1/pipelines/stamp", {"detail": "No pipeline 'stamp' is registered."}, status=404)
    result = exledger("bench", "latency")
    assert result.exit_code == 2
    assert "--app execution_ledger.demo.first_pipelines" in result.stderr


def test_a_ledger_that_does_not_run_it_is_exit_code_3(ledger: FakeLedger) -> None:
    ledger.on("GET", "/v1/pipelines/stamp", {})
    ledger.on("POST", "/v1/executions", QUEUED)
    ledger.on("GET", f"/v1/executions/{ID}", QUEUED)
    result = exledger("bench", "latency")
    assert result.exit_code == 3
    assert "exledger explain double-401" in result.stderr


def test_percentiles_are_numbers_that_were_measured() -> None:
    assert bench.summary(n / 1_000 for n in range(1, 201)) == {"p50": 100.0, "p99": 198.0, "max": 200.0}
    assert bench.summary([0.0015]) == {"p50": 1.5, "p99": 1.5, "max": 1.5}


# --- help -------------------------------------------------------------------------------------------------------


def commands() -> dict[str, Any]:
    """Every command by what has to be typed."""
    top: Any = typer.main.get_command(app)
    found: dict[str, Any] = {}
    for name, command in top.commands.items():
        inner = getattr(command, "commands", None)
        found |= {f"{name} {each}": it for each, it in inner.items()} if inner else {name: command}
    return found


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_has_examples_that_can_be_typed(name: str) -> None:
    result = CliRunner().invoke(app, [*name.split(), "--help"])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert "Examples:" in result.stdout
    typed = [line.strip() for line in lines[[line.strip() for line in lines].index("Examples:") + 1 :] if line.strip()]
    assert typed
    assert all(f"exledger {name}" in line for line in typed)


def test_examples_are_of_commands_that_exist() -> None:
    assert set(EXAMPLES) <= set(commands())
