"""`run` on several twins: one batch, and what its ends say together."""

from __future__ import annotations

import json
from typing import Any

import pytest

from unit.cli_stage import fake_ledger
from unit.test_cli_commands import ID, FakeLedger, execution, exledger


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> FakeLedger:
    return fake_ledger(monkeypatch)


def batch_of(*statuses: str) -> dict[str, Any]:
    refusal = {"code": "business_id_live", "detail": "one is live"}
    children = [
        {"id": f"{ID}-{n}", "status": status, "number": n, "name": f"double-{n}", "refusal": None}
        | ({"name": None, "refusal": refusal} if status == "rejected" else {})
        for n, status in enumerate(statuses)
    ]
    return {"id": "b", "executions": children, "position": "1.1", "command_id": "c"}


def test_several_twins_are_run_on_as_one_batch(ledger: FakeLedger) -> None:
    """The last one alone would have been taken."""
    ledger.on("POST", "/v1/batches", batch_of("queued", "queued"), status=201)
    result = exledger("run", "double", "-i", "n=21", "--twin", "pump-1", "--twin", "pump-2", "--key", "k")
    assert (result.exit_code, "exledger list --batch b" in result.stderr) == (0, True)
    asked = {"pipeline": "double", "inputs": {"n": 21}, "labels": {}}
    assert ledger.posted() == [{"executions": [{**asked, "twin": "pump-1"}, {**asked, "twin": "pump-2"}]}]
    assert [line.split() for line in result.stdout.splitlines()[1:]] == [
        ["double-0", "queued", "pump-1"],
        ["double-1", "queued", "pump-2"],
    ]


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        (("completed", "completed"), 0),
        (("completed", "failed"), 1),
        (("completed", "aborted"), 1),
        (("completed", "rejected"), 1),
        (("completed", "started"), 4),
    ],
)
def test_a_batch_is_waited_for_and_ends_well_if_all_of_it_does(
    ledger: FakeLedger, ends: tuple[str, ...], code: int
) -> None:
    begun = ["rejected" if end == "rejected" else "queued" for end in ends]
    ledger.on("POST", "/v1/batches", batch_of(*begun), status=201)
    for n, end in enumerate(ends):
        failure = {"kind": "user", "message": "no n"} if end == "failed" else None
        ledger.on("GET", f"/v1/executions/{ID}-{n}", execution(end, twin=f"pump-{n}", failure=failure))
    waiting = ("run", "double", "--twin", "pump-0", "--twin", "pump-1", "--wait", "--wait-for", "0")
    result = exledger(*waiting)
    assert result.exit_code == code
    assert ("no n" in result.stdout, "jobs run retry --batch b" in result.stderr) == ("failed" in ends,) * 2
    assert ("one is live" in result.stdout) == ("rejected" in ends)
    shown = json.loads(exledger(*waiting, "--json").stdout)
    assert [each["status"] for each in shown["executions"]] == list(ends)


@pytest.mark.parametrize(
    ("twins", "says"),
    [
        (("pump-1",), "double-401 goes on without you. See it: exledger get double-401, end it: exledger abort"),
        (("pump-1", "pump-2"), "end them: exledger jobs run abort --batch b"),
    ],
    ids=["one", "several"],
)
def test_who_has_enough_of_waiting_is_told_what_goes_on(
    ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch, twins: tuple[str, ...], says: str
) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    ledger.on("POST", "/v1/executions", execution("queued") | {"name": "double-401"}, status=201)
    ledger.on("POST", "/v1/batches", batch_of("queued", "queued"), status=201)
    for module in ("run", "multi_run"):
        monkeypatch.setattr(f"execution_ledger.cli.{module}.until_end", interrupted)
    result = exledger("run", "double", "-i", "n=21", "--wait", *(part for twin in twins for part in ("--twin", twin)))
    assert result.exit_code == 130
    assert says in result.stderr
