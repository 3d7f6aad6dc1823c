"""`artifacts`, `models`, `metrics` and `data`: what they show, and what they say where there is nothing."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

from execution_ledger.cli import tail
from execution_ledger.cli.executions import why
from unit.cli_stage import fake_ledger
from unit.client_stage import ID, NAME, page, record
from unit.test_cli_commands import FakeLedger, exledger
from unit.test_sdk_files import ARTIFACT, REF, SHA256

MODEL = {
    **{name: REF[name] for name in ("sha256", "size", "media_type")},
    "key": "pump",
    "version": "401.1",
    "execution_id": ID,
    "execution": NAME,
    "pipeline": "double",
    "twin": None,
    "step": None,
    "recorded_at": "2026-11-22T04:58:18.123Z",
}


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> FakeLedger:
    return fake_ledger(monkeypatch)


def event(kind: str, /, **data: Any) -> dict[str, Any]:
    return {"type": f"executionledger.execution.{kind}.v1", "subject": ID, "data": data}


def test_artifacts_are_listed_with_the_files_among_the_outputs(ledger: FakeLedger) -> None:
    ledger.on("GET", f"/v1/executions/{NAME}/artifacts", page(ARTIFACT))
    ledger.on("GET", f"/v1/executions/{NAME}", record("completed", outputs={"report": REF, "rows": 3}))
    shown = exledger("artifacts", NAME)
    assert [line.split()[:4] for line in shown.stdout.splitlines()[1:]] == [
        ["rows", "table", "4.0", "kB"],
        ["report", "output", "4.0", "kB"],
    ]
    assert "--save DIR" in shown.stderr
    gone = exledger("artifacts", NAME, "gone")
    assert (gone.exit_code, "nothing named gone" in gone.stderr) == (2, True)


def test_files_of_one_name_are_saved_beside_each_other(ledger: FakeLedger) -> None:
    ledger.on("GET", f"/v1/executions/{NAME}/artifacts", page({**ARTIFACT, "name": "a"}))
    ledger.on("GET", f"/v1/executions/{NAME}", record("completed", outputs={"left": REF, "right": REF}))
    lines = [json.loads(line) for line in exledger("artifacts", NAME, "--json").stdout.splitlines()]
    assert [line["file"] for line in lines] == ["table.a.csv", "left.a.csv", "right.a.csv"]


def test_nothing_recorded_is_said_so(ledger: FakeLedger) -> None:
    ledger.on("GET", f"/v1/executions/{NAME}/artifacts", page())
    ledger.on("GET", f"/v1/executions/{NAME}", record("failed"))
    assert "recorded nothing yet" in exledger("artifacts", NAME).stderr
    for command, path in (("models", "/v1/models"), ("metrics", "/v1/metrics"), ("data ls", "/v1/data")):
        ledger.on("GET", path, page())
        assert "There is none." in exledger(*command.split()).stderr


def test_models_show_their_versions(ledger: FakeLedger) -> None:
    ledger.on("GET", "/v1/models", page(MODEL))
    assert exledger("models", "pump").stdout.splitlines()[1].split()[:3] == ["pump", "401.1", NAME]
    assert ledger.requests[-1].url.params["key"] == "pump"
    assert exledger("models", "--save", "folder").exit_code == 2


def test_an_input_that_is_a_file_is_sent_first(ledger: FakeLedger, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1")
    definition = {"inputs": {"rows": {"type": "file"}}}
    ledger.on("GET", "/v1/pipelines/fit", {"definition": definition})
    ledger.on("POST", "/v1/files", REF, status=201)
    ledger.on("POST", "/v1/executions", record("queued", command_id="c"), status=201)
    shown = exledger("run", "fit", "-i", f"rows={tmp_path / 'a.csv'}")
    assert shown.exit_code == 0, shown.output
    assert [request.url.path for request in ledger.requests][-2:] == ["/v1/files", "/v1/executions"]
    assert SHA256 in ledger.requests[-1].content.decode()
    assert exledger("run", "fit", "-i", "rows=nowhere.csv").exit_code == 2


def test_a_history_says_what_was_recorded() -> None:
    assert why(event("artifact_recorded", kind="plot", name="trend", file={"size": 1_500})) == "plot trend, 1.5 kB"
    assert why(event("metric_recorded", name="rmse", value=0.25)) == "rmse = 0.25"
    assert why(event("metric_recorded", name="loss", values=[1.0] * 3)) == "loss: 3 values"


def test_what_is_followed_is_not_renamed_by_what_it_records() -> None:
    names: OrderedDict[str, str] = OrderedDict()
    assert tail._name(event("queued", name=NAME), names) == NAME
    assert tail._name(event("metric_recorded", name="rmse", value=1.0), names) == NAME
