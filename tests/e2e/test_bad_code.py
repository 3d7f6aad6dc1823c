"""Pipelines that misbehave on a real `exledger dev`: clear ends for them, none for anybody else."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2e.bad_pipelines import BAD, ENDS
from e2e.program import Dev, exledger, run_to_end, services
from e2e.test_survival import ended, history, mine
from execution_ledger.messages.events import Completed, Requeued

LEASE_S = 3
HEALTHY = ("has an exit in a thread", "prints lines", "prints no newline", "prints control characters")
COMPLETES = {*HEALTHY, "closes its streams"}
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def app_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    shutil.copy(HERE / "bad_pipelines.py", folder / "pipelines.py")
    return folder


@pytest.fixture(scope="module")
def dev_settings() -> dict[str, str]:
    """A short lease, so that a lost runner is known as lost soon."""
    lease = str(LEASE_S)
    return {
        "EXLEDGER__RUNNER__LEASE_S": lease,
        "EXLEDGER__RUNNER__HEARTBEAT_S": "0.3",
        "EXLEDGER__DISPATCHER__LEASE_S": lease,
    }


def post(api: httpx.Client, pipeline: str, inputs: list[dict[str, Any]], **policy: Any) -> list[str]:
    executions = [{"pipeline": pipeline, "inputs": one, "policy": policy} for one in inputs]
    answer = api.post("/v1/batches", json={"executions": executions})
    assert answer.status_code in (200, 201), answer.text
    return [execution["id"] for execution in answer.json()["executions"]]


@pytest.mark.parametrize("pipeline", ["plain", "on_the_loop"])
def test_rubbish_errors_and_megabytes_end_clearly_and_harm_nobody(dev: Dev, api: httpx.Client, pipeline: str) -> None:
    runner, shown = services(dev)["runner"], dev.printed_by_now()
    [healthy] = post(api, "waits", [{"seconds": 1}])
    records = ended(api, post(api, pipeline, [{"how": how} for how in BAD if how != "closes its streams"]))
    assert ended(api, [healthy])[0]["status"] == "completed"
    for record in records:
        how = record["inputs"]["how"]
        if how in COMPLETES:
            assert (how, record["status"]) == (how, "completed")
        else:
            assert (how, record["status"]) == (how, "failed")
            assert record["failure"]["kind"] == ("outputs_too_large" if how == "returns too much" else "user")
            assert 10 < len(record["failure"]["message"]) <= 4_000
    assert (services(dev)["runner"], dev.printed_by_now()) == (runner, shown)


def test_code_that_is_deaf_to_its_abort_is_ended_over_its_head(api: httpx.Client) -> None:
    [execution] = post(api, "deaf", [{}], abort_grace_ms=500)
    while api.get(f"/v1/executions/{execution}", params={"wait": 0.2}).json()["status"] != "started":
        pass
    api.post(f"/v1/executions/{execution}/abort", json={})
    assert ended(api, [execution])[0]["status"] == "aborted"


def test_a_runner_whose_code_closed_its_streams_works_and_logs_on(dev: Dev, api: httpx.Client) -> None:
    runner = services(dev)["runner"]
    assert ended(api, post(api, "plain", [{"how": "closes its streams"}]))[0]["status"] == "completed"
    assert ended(api, post(api, "waits", [{"seconds": 0}]))[0]["status"] == "completed"
    assert services(dev)["runner"] == runner


def check_run_again(dev: Dev, ids: list[str]) -> None:
    happened = history(dev)
    assert len(mine(happened, ids, Completed)) == len(ids)
    assert mine(happened, ids, Requeued)


def test_code_that_ends_its_process_is_tried_as_often_as_any_and_fails_and_all_others_complete(
    dev: Dev, api: httpx.Client
) -> None:
    others = post(api, "waits", [{"seconds": 2 + number / 10} for number in range(6)])
    by_default = post(api, "ends_its_process", [{"how": "exit"}])
    one_try_alone = post(api, "ends_its_process", [{"how": how} for how in ENDS if how != "exit"], losses_max=1)
    killers = ended(api, by_default + one_try_alone)
    assert {(record["status"], record["failure"]["kind"]) for record in killers} == {("failed", "lost")}
    assert all("one that ends its process" in record["failure"]["message"] for record in killers)
    assert {record["status"] for record in ended(api, others)} == {"completed"}
    check_run_again(dev, others)


def test_code_that_blocks_the_loop_is_named_with_its_line_and_all_others_complete(dev: Dev, api: httpx.Client) -> None:
    lines = (HERE / "bad_pipelines.py").read_text().splitlines()
    line = 1 + next(number for number, text in enumerate(lines) if "# forever" in text)
    others = post(api, "waits", [{"seconds": 1 + number / 10} for number in range(20)])
    [blocking] = post(api, "blocks_the_loop", [{}], losses_max=0)
    dev.wait_for(f"line {line} of ")
    [record] = ended(api, [blocking])
    assert (record["status"], record["failure"]["kind"]) == ("failed", "lost")
    assert "blocks the runner's loop" in record["failure"]["message"]
    assert {record["status"] for record in ended(api, others)} == {"completed"}
    check_run_again(dev, others)


def test_a_file_that_breaks_while_dev_runs_is_named_and_the_runner_is_back_once_it_is_mended(
    dev: Dev, api: httpx.Client, app_folder: Path
) -> None:
    app = app_folder / "pipelines.py"
    good = app.read_text()
    app.write_text(f"{good}\nraise RuntimeError('half edited')\n")
    os.kill(services(dev)["runner"], signal.SIGKILL)
    dev.wait_for("RuntimeError: half edited")
    dev.wait_for(f"{app}, line {len(good.splitlines()) + 2}: raise")
    accepted = post(api, "waits", [{"seconds": 0}] * 3)
    app.write_text(good)
    assert {record["status"] for record in ended(api, accepted)} == {"completed"}


def test_nothing_is_half_done_and_every_promise_holds(dev: Dev) -> None:
    checked = exledger(dev, "verify")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_dev_with_an_app_that_cannot_be_imported_ends_with_file_and_line(tmp_path: Path) -> None:
    app = tmp_path / "pipelines.py"
    app.write_text("from execution_ledger import pipeline\n\n@pipeline\ndef broken(:\n")
    refused = run_to_end("dev", "--port", "0", "--ephemeral", cwd=tmp_path)
    assert refused.returncode == 2
    assert "The runner cannot run. The app 'pipelines' cannot be imported: SyntaxError: invalid" in refused.stderr
    assert f"{app}, line 4: def broken(:" in refused.stderr
    assert "Traceback" not in refused.stderr
