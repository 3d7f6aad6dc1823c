"""Each service that `dev` starts is told what it needs, and no more; the advice that `dev` gives can be followed."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from execution_ledger.cli.serve import kept, read_settings
from execution_ledger.cli.stack.launch import tell_lack_of_room
from execution_ledger.cli.stack.screen import try_line
from execution_ledger.cli.stack.services import (
    DEMO_APP,
    ORDER,
    Place,
    find_app,
    service_environment,
    service_specs,
    url_of,
)
from execution_ledger.errors import BadSettings
from execution_ledger.settings import Settings


def place(tmp_path: Path, host: str = "127.0.0.1") -> Place:
    return Place(
        host,
        8080,
        "127.0.0.1:9092",
        "postgresql://u:pw@h/db",
        "the-token",
        "pipelines",
        tmp_path / "logs",
        tmp_path / "objects",
    )


def test_only_the_runner_knows_the_token_and_only_readers_and_writers_of_views_their_password(tmp_path: Path) -> None:
    environments = {name: str(service_environment(name, place(tmp_path))) for name in ORDER}
    assert [name for name, text in environments.items() if "the-token" in text] == ["runner"]
    assert [name for name, text in environments.items() if ":pw@" in text] == ["projector", "gateway"]


@pytest.mark.parametrize("name", ORDER)
def test_every_environment_makes_valid_settings(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in service_environment(name, place(tmp_path)).items():
        monkeypatch.setenv(variable, value)
    settings = read_settings()
    assert settings.kafka.bootstrap_servers == "127.0.0.1:9092"
    assert settings.gateway.url == "http://127.0.0.1:8080"
    assert settings.json_logs


@pytest.mark.parametrize("name", ORDER)
def test_every_service_knows_the_digest_of_the_token_that_the_runner_has(name: str, tmp_path: Path) -> None:
    environment = service_environment(name, place(tmp_path))
    assert environment["EXLEDGER__GATEWAY__TOKEN_SHA256"] == hashlib.sha256(b"the-token").hexdigest()


def test_dev_tells_the_gateway_which_disks_to_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = replace(place(tmp_path), disk_folders=(tmp_path / "kafka", tmp_path / "postgres"))
    for variable, value in service_environment("gateway", here).items():
        monkeypatch.setenv(variable, value)
    assert read_settings().gateway.disk_folders == here.disk_folders


@pytest.mark.parametrize(("free_bytes_min", "warned"), [(0, False), (2**62, True)])
def test_dev_says_at_its_start_that_there_is_too_little_room(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], free_bytes_min: int, warned: bool
) -> None:
    here = replace(place(tmp_path), disk_folders=(tmp_path, tmp_path))
    tell_lack_of_room(here, Settings.model_validate({"gateway": {"disk_free_bytes_min": free_bytes_min}}))
    shown = capsys.readouterr()
    assert ("free some space" in shown.out + shown.err) == warned


def test_those_who_keep_objects_keep_them_in_the_data_folder(tmp_path: Path) -> None:
    environments = {name: service_environment(name, place(tmp_path)) for name in ORDER}
    keeping = {name: found["EXLEDGER__OBJECTS__URL"] for name, found in environments.items() if "OBJECTS" in str(found)}
    assert keeping == dict.fromkeys(("ledger", "dispatcher", "runner", "gateway"), str(tmp_path / "objects"))


def test_a_service_keeps_its_own_log_and_a_long_one_is_put_aside(tmp_path: Path) -> None:
    here = place(tmp_path)
    here.logs.mkdir()
    with (here.logs / "runner.log").open("wb") as log:
        log.truncate(10_000_001)
    specs = {spec.name: spec for spec in service_specs(here)}
    assert specs["ledger"].log_path == here.logs / "ledger.log"
    assert not (here.logs / "runner.log").exists()
    assert (here.logs / "runner.log.1").exists()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("ledger.example", "http://ledger.example:80"),
    ],
)
def test_clients_here_can_reach_the_gateway_wherever_it_listens(host: str, url: str) -> None:
    assert url_of(host, 80) == url


def test_the_own_pipelines_come_before_the_demo(tmp_path: Path) -> None:
    assert find_app(None, tmp_path) == DEMO_APP
    (tmp_path / "pipelines.py").touch()
    assert find_app(None, tmp_path) == "pipelines"


def test_an_app_is_looked_for_in_the_folder_too(tmp_path: Path) -> None:
    (tmp_path / "mine.py").touch()
    assert find_app("mine", tmp_path) == "mine"
    assert find_app("mine.py", tmp_path) == "mine.py"
    with pytest.raises(BadSettings, match="There is no Python module or file 'mine'"):
        find_app("mine", tmp_path / "elsewhere")


def test_a_wrong_setting_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXLEDGER__KAFKA__SHARDS", "1")
    with pytest.raises(BadSettings, match=r"EXLEDGER__KAFKA__SHARDS: .*greater than or equal to 2"):
        read_settings()


def test_the_app_of_the_command_line_is_a_setting_of_the_runner() -> None:
    assert read_settings("mine").runner == Settings().runner.model_copy(update={"app": "mine"})


def test_retention_is_told_in_days_and_hours() -> None:
    assert [kept(ms) for ms in (-1, 3_600_000, 604_800_000, 90_000_000)] == ["for ever", "1 h", "7 d", "1 d 1 h"]


@pytest.mark.parametrize(
    ("pipelines", "line"),
    [
        ({"zap": {}, "double": {"n": {"type": "number"}}}, "exledger run double -i n=21 --wait"),
        ({"b": {}, "a": {}}, "exledger run a --wait"),
        (
            {"a": {"x": {"type": "array"}, "y": {"type": "string", "required": False}}},
            "exledger run a -i 'x=[1, 2]' --wait",
        ),
    ],
)
def test_the_next_command_is_one_that_works(pipelines: dict[str, Any], line: str) -> None:
    registered = [{"name": name, "definition": {"inputs": inputs}} for name, inputs in pipelines.items()]
    assert try_line(registered, Path(".execution-ledger").absolute()) == line
    assert try_line(registered, Path("/data/my ledger")) == f"{line} --data-dir '/data/my ledger'"
