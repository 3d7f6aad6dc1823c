"""`exledger init` and `exledger serve` against a cluster that settings name."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

import pytest

from e2e.program import COMMAND_S, ENVIRONMENT


@pytest.fixture
def settings(kafka: str) -> dict[str, str]:
    prefix = f"serve-{uuid4().hex[:8]}."
    return {"EXLEDGER__KAFKA__BOOTSTRAP_SERVERS": kafka, "EXLEDGER__KAFKA__TOPIC_PREFIX": prefix}


def exledger(settings: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "execution_ledger", *arguments]
    environment = {**ENVIRONMENT, **settings}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=COMMAND_S, check=False)


def test_without_topics_a_service_refuses_and_names_the_command_that_makes_them(settings: dict[str, str]) -> None:
    refused = exledger(settings, "serve", "ledger")
    assert refused.returncode != 0
    assert "exledger init" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_init_makes_the_topics_once_and_services_then_start_and_stop(settings: dict[str, str]) -> None:
    made = exledger(settings, "init")
    assert made.returncode == 0, made.stderr
    prefix = settings["EXLEDGER__KAFKA__TOPIC_PREFIX"]
    assert all(prefix + topic in made.stdout for topic in ("commands", "reports", "events", "inbox", "heartbeats"))
    assert exledger(settings, "init").returncode == 0
    command = [sys.executable, "-m", "execution_ledger", "serve", "ledger"]
    with subprocess.Popen(command, env={**ENVIRONMENT, **settings}, stderr=subprocess.PIPE, text=True) as ledger:
        try:
            assert ledger.stderr
            claimed = [line for _, line in zip(range(4), (x for x in ledger.stderr if "claimed" in x), strict=False)]
            assert len(claimed) == 4
        finally:
            ledger.send_signal(signal.SIGTERM)
        assert ledger.wait(30) == 0


def test_another_shard_count_than_the_log_has_is_refused(settings: dict[str, str]) -> None:
    assert exledger(settings, "init").returncode == 0
    refused = exledger({**settings, "EXLEDGER__KAFKA__SHARDS": "8"}, "serve", "ledger")
    assert refused.returncode != 0
    assert "4" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_setting_that_cannot_be_used_is_named() -> None:
    refused = exledger({"EXLEDGER__KAFKA__SHARDS": "one"}, "serve", "ledger")
    assert refused.returncode == 2
    assert "EXLEDGER__KAFKA__SHARDS" in refused.stderr


BROKEN_APPS = {
    "exits": ("import sys\nsys.exit(7)", "SystemExit: 7\n  {app}, line 2: sys.exit(7)"),
    "has_twins": (
        "from execution_ledger import pipeline\n"
        "@pipeline('a')\ndef one(context): ...\n@pipeline('a')\ndef two(context): ...",
        "has two pipelines named 'a': one in {app}, line 2, one (two) in {app}, line 4.",
    ),
}


def test_a_runner_whose_app_cannot_be_used_says_file_line_and_error(settings: dict[str, str], tmp_path: Path) -> None:
    assert exledger(settings, "init").returncode == 0
    for name, (code, words) in BROKEN_APPS.items():
        app = tmp_path / f"{name}.py"
        app.write_text(code)
        refused = exledger(settings, "serve", "runner", "--app", str(app))
        assert refused.returncode == 2
        assert words.format(app=app) in refused.stderr
        assert "Traceback" not in refused.stderr
