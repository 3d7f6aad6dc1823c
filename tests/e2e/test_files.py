"""Files, artifacts, models, metrics and data on the real stack: in by the client, through a pipeline, out again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from e2e.program import Dev, exledger
from execution_ledger import Client, ExecutionFailed, File
from execution_ledger.errors import BadRequest
from execution_ledger.sdk.client.http import Refused

WAIT_S = 60.0
PIPELINES = """
from pathlib import Path
from execution_ledger import Context, File, pipeline

@pipeline(inputs={"rows": "file", "report": "string"}, outputs={"report": "file", "lines": "number"}, retries=0)
def fit(ctx, rows, report="report.html"):
    with rows.open() as file:
        lines = sum(1 for _ in file)
    ctx.plot("trend", "<p>drawn</p>")
    ctx.table("rows", [{"a": 1}, {"a": 2}])
    ctx.model("pump", {"lines": lines})
    ctx.metric("rmse", lines / 10)
    ctx.metric("loss", [0.5, 0.25])
    ctx.metric("loss", [0.125])
    ctx.data.put("seen/last.txt", rows.read_bytes())
    folder = Path.cwd()
    (folder / "report.html").write_text(f"<p>{lines} lines</p>")
    return {"report": File(folder / report), "lines": lines}

@pipeline(inputs={}, outputs={"copy": "file"})
async def pass_on(ctx):
    ctx.artifact("notes", b"from async code")
    return {"copy": File("report.html")}
"""


@pytest.fixture(scope="module")
def app_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    (folder / "pipelines.py").write_text(PIPELINES)
    return folder


@pytest.fixture(scope="module")
def client(dev: Dev) -> Iterator[Client]:
    with Client(folder=dev.folder) as client:
        client.templates.put("pump", {})
        for number in (1, 2, 7):
            client.twins.put(f"pump-{number}", template="pump")
        yield client


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    path.write_text("1\n2\n3\n")
    return path


def test_a_file_goes_in_and_another_comes_out_with_all_that_was_recorded(
    client: Client, rows: Path, tmp_path: Path
) -> None:
    run = client.run("fit", inputs={"rows": rows}, mode="experiment", twin="pump-7")
    execution = run.wait(WAIT_S)
    assert execution.outputs
    assert (execution.outputs["report"].save(tmp_path)).read_text() == "<p>3 lines</p>"
    assert run.outputs["lines"] == 3
    assert execution.inputs
    assert execution.inputs["rows"].read_bytes() == rows.read_bytes()
    assert [(each.title, each.kind) for each in run.artifacts()] == [
        ("trend", "plot"),
        ("rows", "table"),
        ("pump", "model"),
    ]
    [plot] = run.plots()
    assert plot.save(tmp_path) == tmp_path / "trend.html"
    assert plot.read_bytes() == b"<p>drawn</p>"
    metrics = {metric.name: metric for metric in run.metrics()}
    assert (metrics["rmse"].value, metrics["rmse"].values, metrics["rmse"].twin) == (0.3, None, "pump-7")
    assert (metrics["loss"].value, metrics["loss"].values, metrics["loss"].count) == (0.125, [0.5, 0.25, 0.125], 3)
    [model] = client.models("pump")
    assert model.version == f"{execution.number}.1"
    assert client.model("pump", model.version).read_bytes() == client.model("pump").read_bytes()
    assert client.data.list("seen") == {}, "an experiment writes nothing"


def test_production_draws_and_trains_nothing_and_writes_data(client: Client, rows: Path) -> None:
    with rows.open("rb") as opened:
        run = client.run("fit", inputs={"rows": opened})
        run.wait(WAIT_S)
    assert [each.title for each in run.artifacts()] == ["rows"]
    assert client.data.get("seen/last.txt").read_bytes() == rows.read_bytes()


def test_metrics_are_compared_over_the_executions_of_a_pipeline(client: Client, rows: Path) -> None:
    for _ in range(2):
        client.run("fit", inputs={"rows": rows}).wait(WAIT_S)
    found = list(client.metrics(pipeline="fit", name="rmse"))
    assert len(found) >= 2
    assert {metric.value for metric in found} == {0.3}
    pages = [
        client.connection.get("/v1/metrics", pipeline="fit", limit=1),
    ]
    while pages[-1]["next"]:
        pages.append(client.connection.get("/v1/metrics", pipeline="fit", limit=1, cursor=pages[-1]["next"]))
    lines = [(item["execution"], item["name"]) for page in pages for item in page["items"]]
    assert len(lines) == len(set(lines)) == 2 * len(found)


def test_a_file_in_async_code_and_one_upload_for_a_batch(client: Client, rows: Path, tmp_path: Path) -> None:
    run = client.run("pass_on")
    assert run.outputs["copy"].save(tmp_path).read_text() == "<p>3 lines</p>"
    assert [each.read_bytes() for each in run.artifacts()] == [b"from async code"]
    batch = client.multi_run("fit", ["pump-1", "pump-2"], inputs={"rows": rows})
    assert [each.status for each in batch.wait(WAIT_S)] == ["completed", "completed"]


def test_a_file_that_vanished_fails_the_execution_in_words(client: Client, rows: Path) -> None:
    with pytest.raises(ExecutionFailed, match=r"its output 'report' is not there.*gone\.html"):
        client.run("fit", inputs={"rows": rows, "report": "gone.html"}).wait(WAIT_S)


def test_what_names_no_file_is_refused_before_anything_exists(client: Client) -> None:
    before = sum(group.count for group in client.stats().items)
    unknown = {"sha256": "0" * 64, "size": 1, "media_type": "text/csv", "name": "rows.csv"}
    uploaded = client.upload(Path(__file__)).ref
    assert uploaded
    for value, words in (
        (unknown, "names a file that is not here"),
        ({**uploaded.model_dump(), "size": 1}, "says 1 bytes"),
        ({**uploaded.model_dump(), "name": ".."}, "wrong name"),
        ("rows.csv", "must be a file"),
        ({"sha256": 7}, "must be a file"),
    ):
        with pytest.raises(Refused, match=words):
            client.run("fit", inputs={"rows": value})
        with pytest.raises(Refused, match=rf"executions\[1\]\.inputs\.rows: .*{words}"):
            client.batch([{"pipeline": "pass_on"}, {"pipeline": "fit", "inputs": {"rows": value}}])
    with pytest.raises(BadRequest, match=r"nowhere\.csv"):
        client.run("fit", inputs={"rows": File("nowhere.csv")})
    assert sum(group.count for group in client.stats().items) == before


def test_what_is_served_cannot_act_in_a_browser(api: httpx.Client, client: Client, rows: Path) -> None:
    run = client.run("fit", inputs={"rows": rows}, options={"plot": True})
    run.wait(WAIT_S)
    response = api.get(f"/v1/executions/{run.name}/artifacts/trend")
    assert response.content == b"<p>drawn</p>"
    assert response.headers["content-type"].startswith("text/html")
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-security-policy"].startswith("sandbox")
    assert response.headers["content-disposition"] == "attachment; filename*=UTF-8''trend.html"
    assert api.get(f"/v1/executions/{run.name}/artifacts/nothing").status_code == 404
    elsewhere = api.get(f"/v1/executions/{run.name}/artifacts/trend", params={"step": "load", "attempt": 2})
    assert "nothing named 'trend' in attempt 2 in step 'load'" in elsewhere.json()["detail"]
    assert api.get("/v1/executions/1/artifacts/trend").status_code == 404
    assert api.get("/v1/files/" + "0" * 64).json()["type"].endswith("unknown-file")


def test_data_is_put_listed_got_and_removed_by_command(dev: Dev, tmp_path: Path) -> None:
    (tmp_path / "pumps.csv").write_bytes(b"x" * 3_000_000)
    assert exledger(dev, "data", "put", str(tmp_path / "pumps.csv"), "lists/pumps.csv").returncode == 0
    assert "3.0 MB" in exledger(dev, "data", "ls", "lists").stdout
    assert exledger(dev, "data", "get", "lists/pumps.csv", str(tmp_path / "got")).returncode == 0
    assert (tmp_path / "got" / "pumps.csv").read_bytes() == b"x" * 3_000_000
    below = exledger(dev, "data", "put", str(tmp_path / "pumps.csv"), "lists")
    assert (below.returncode, "data below lists" in below.stderr) == (2, True), below.stderr
    assert exledger(dev, "data", "rm", "lists/pumps.csv").returncode == 0
    assert exledger(dev, "data", "rm", "lists/pumps.csv").returncode == 2
    assert exledger(dev, "data", "put", str(tmp_path / "pumps.csv"), "lists").returncode == 0


def test_a_command_runs_with_a_file_and_saves_all_that_came_out(dev: Dev, rows: Path, tmp_path: Path) -> None:
    ran = exledger(dev, "run", "fit", "-i", f"rows={rows}", "--mode", "experiment", "--wait", "--json")
    name = json.loads(ran.stdout)["name"]
    saved = exledger(dev, "artifacts", name, "--save", str(tmp_path))
    assert saved.returncode == 0, saved.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"trend.html", "rows.csv", "pump.pkl", "report.html"}
    assert (tmp_path / "report.html").read_text() == "<p>3 lines</p>"
    assert "rmse" in exledger(dev, "metrics", "--pipeline", "fit").stdout
    assert "pump" in exledger(dev, "models").stdout
    checked = exledger(dev, "verify")
    assert checked.returncode == 0, checked.stdout


def test_an_input_that_is_gone_from_the_store_is_named_with_its_execution(
    client: Client, dev: Dev, tmp_path: Path
) -> None:
    rows = tmp_path / "gone.csv"
    rows.write_text("gone\n")
    execution = client.run("fit", inputs={"rows": rows}, mode="experiment").wait(WAIT_S)
    stored = dev.folder / "objects" / "files" / hashlib.sha256(b"gone\n").hexdigest()
    stored.rename(tmp_path / "moved")
    checked = exledger(dev, "verify", "--json")
    (tmp_path / "moved").rename(stored)
    [breach] = json.loads(checked.stdout)["breaches"]
    assert (checked.returncode, breach["promise"], breach["execution"]) == (1, 12, execution.id)
    assert f"The file {stored.name} (input 'rows') is not in the object store" in breach["what"]


def test_bad_calls_are_told_what_is_wrong_with_them(api: httpx.Client) -> None:
    digest = hashlib.sha256(b"").hexdigest()
    for response, status in (
        (api.put("/v1/data/a%2F..%2Fb", content=b"x"), 422),
        (api.put("/v1/data/" + "a" * 600, content=b"x"), 422),
        (api.put("/v1/data/a%00b", content=b"x"), 422),
        (api.get("/v1/data/nothing"), 404),
        (api.get("/v1/data", params={"prefix": "/"}), 422),
        (api.get("/v1/files/xyz"), 422),
        (api.post("/v1/files", content=b"x", headers={"Content-Encoding": "gzip"}), 422),
        (api.post("/v1/files", content=b"x", params={"name": "a/b"}), 422),
        (api.post("/v1/files", content=b"x", headers={"Content-Type": "nonsense"}), 422),
        (api.get("/v1/models/x", params={"version": "1"}), 422),
        (api.get("/v1/models", params={"cursor": "x"}), 422),
        (api.get("/v1/metrics", params={"cursor": "x"}), 422),
        (api.get("/v1/metrics", params={"execution": "nobody"}), 404),
        (api.post("/v1/files"), 201),
        (api.get(f"/v1/files/{digest}"), 200),
        (httpx.post(f"{api.base_url}/v1/files", content=b"x", trust_env=False), 401),
        (httpx.put(f"{api.base_url}/v1/data/a", content=b"x", trust_env=False), 401),
    ):
        assert response.status_code == status, (response.request.url, response.text)
