"""The client: what programs ask a ledger for, with types.

run = Client().run("train", twin="pump-7", inputs={"days": 7}, key="2026-11-22")
run.wait().outputs["rows"]
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NoReturn, Self, Unpack

import httpx

from ...errors import OutcomeUnknown
from ..file import File
from ..records.explanations import Explanation, Queue, Runners
from ..records.records import (
    Event,
    Execution,
    ExecutionSummary,
    JobPreview,
    JobRecord,
    JobSummary,
    LogLine,
    PipelineVersion,
    Stats,
)
from .address import address_of, batch_path, execution_path, job_path, pipeline_path
from .asking import Asked, Changes, Request, bodies_of, body_of, listed
from .catalog import Experiments, Templates, Twins
from .data import ClientData
from .ending import ended
from .finding import By, Found, query_of
from .following import follow
from .http import Connection, fresh_key, open_http
from .job import Action, Job, job_body
from .kept import Artifact, Metric, Model, artifacts, model_file, upload, with_files
from .lines import lines_of_log
from .multi_run import MultiRun
from .run import Run
from .waiting import WAIT_S, deadline_of, undecided, until_end, write_until_decided

DECIDE_S = 30.0  # how long a write is asked again that is safe in the log, but undecided
PAGE_SIZE = 100
STATS_MAX = 500


class Client:
    """Talks to one ledger; safe to use from several threads. `with` it, or close it.

    Without arguments it is the ledger that EXLEDGER_URL and EXLEDGER_TOKEN name, else the `exledger dev` whose
    `.execution-ledger` is in the working directory or nearest above it. `folder` is the data folder of another `dev`;
    `transport` is for who brings their own (httpx).

    Every call asks again where the ledger is busy or does not answer, for some seconds, and then raises Unavailable.
    Writes carry a key, the caller's or one of their own, so that asking again never does anything twice. What the
    ledger refuses raises BadRequest. An execution is named by id, number or name.

    A process that is forked may go on with it; one that is spawned needs its own, for a Client is never pickled.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        folder: Path | str | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Raises Unavailable where no ledger is found, BadSettings for what is no URL or token."""
        address = address_of(url, token, folder)
        self.connection = Connection(address, open_http(address, transport))
        self.templates = Templates(self)
        self.twins = Twins(self)
        self.experiments = Experiments(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "A Client cannot be pickled: it holds a connection and a token. Make one where it is needed, and hand over "
            "the names or ids of executions."
        )

    def close(self) -> None:
        """Closing twice is safe."""
        self.connection.close()

    # --- what is run ----------------------------------------------------------------------------------------------

    def run(self, pipeline: str, *, key: str | None = None, **asked: Unpack[Asked]) -> Run:
        """Runs a pipeline; returns once the ledger has decided, within milliseconds. `Run.wait` waits for its end.

        client.run("train", twin="pump-7", inputs={"days": 7, "rows": Path("rows.csv")}, key="2026-11-22")

        inputs       by name; one that is a file is a Path, an open file or a File
        twin         a registered one, whose values are properties of the run
        properties   go before the twin's values
        mode         "production" (by default) or "experiment"; `experiment`: the key of what it belongs to then
        options      {"train": …, "plot": …, "write": …}, else as the mode has it
        policy       {"timeout": "10m", "retries": 3, …}, else as the pipeline says; see `pipeline`
        labels       texts by name
        priority     -100 to 100, the higher the earlier
        business_id  unique among the pipeline's live executions; where one is live, `if_live` says what becomes of this
                     one: "refuse" (by default), "first" (that one is the answer), "wait" (it runs after its end)

        The same `key` again, from anywhere, is the same run; the ledger keeps it for a day. Raises BadRequest;
        OutcomeUnknown while the ledger takes it in and decides nothing.
        """
        body = body_of(self.connection, {"pipeline": pipeline, **asked})
        return Run(self, self.write("POST", "/v1/executions", body, key))

    def multi_run(
        self, pipeline: str, twins: Sequence[str], *, key: str | None = None, **asked: Unpack[Asked]
    ) -> MultiRun:
        """Runs a pipeline on each twin, as one batch, checked together before any of it exists; else as `run` says."""
        request: Request = {"pipeline": pipeline, **asked}
        return self.batch([{**request, "twin": twin} for twin in listed("twins", twins)], key=key)

    def batch(self, requests: Iterable[Request], *, key: str | None = None) -> MultiRun:
        """Many executions at once, checked together before any of them exists; else as `run` says.

        client.batch([{"pipeline": "load", "twin": "pump-7"}, {"pipeline": "train", "inputs": {"rate": 0.1}}])
        """
        bodies = bodies_of(self.connection, requests)
        return MultiRun(self, self.write("POST", "/v1/batches", {"executions": bodies}, key))

    def retry(self, which: str | int, *, key: str | None = None) -> Run:
        """Runs what has failed or was aborted once more, with all that it was asked for, the version too.

        Raises BadRequest for what has not ended, or has completed. A `key` is as `run` says.
        """
        return Run(self, self.write("POST", f"{execution_path(which)}/retry", {}, key))

    def rerun(self, which: str | int, *, key: str | None = None, **changes: Unpack[Changes]) -> Run:
        """Runs what has ended, however it did, once more with changes. Else as `retry` says.

        client.rerun("train-801", inputs={"rate": 0.1})

        `inputs` and `labels` go over the old ones by name; whatever else `run` takes (but no business id) takes the
        place of the old one. `newest`: run the pipeline's newest version, else the one that ran before. `from_failed`:
        the steps that have completed do not run again, and what they gave is reused; then nothing may change that they
        ran with.
        """
        return Run(self, self.write("POST", f"{execution_path(which)}/rerun", body_of(self.connection, changes), key))

    def retry_batch(self, batch: str, statuses: Sequence[str] = ("failed",), *, key: str | None = None) -> MultiRun:
        """A new batch of those that ended with one of `statuses` ("failed", "aborted"), in their order.

        Raises BadRequest where there are none, or while some have not ended. A `key` is as `run` says.
        """
        return MultiRun(
            self, self.write("POST", f"{batch_path(batch)}/retry", {"statuses": listed("statuses", statuses)}, key)
        )

    def abort(self, which: str | int, reason: str | None = None, *, key: str | None = None) -> str:
        """Asks an execution to end; returns its status: `aborted` if it was waiting, else `abort_requested`.

        Raises BadRequest for one that has ended, or that was asked before.
        """
        status: str = self.write("POST", f"{execution_path(which)}/abort", _because(reason), key)["status"]
        return status

    def hold(self, which: str | int, reason: str | None = None, *, key: str | None = None) -> None:
        """Keeps what waits from being started until `release`. Raises BadRequest for what does not wait."""
        self.write("POST", f"{execution_path(which)}/hold", _because(reason), key)

    def release(self, which: str | int, reason: str | None = None, *, key: str | None = None) -> None:
        """Lets what is held be started. Raises BadRequest for what is not held."""
        self.write("POST", f"{execution_path(which)}/release", _because(reason), key)

    def label(
        self, which: str | int, labels: Mapping[str, str | None], reason: str | None = None, *, key: str | None = None
    ) -> None:
        """Sets labels, and takes those away that are None; also of what has ended long ago."""
        self.write("POST", f"{execution_path(which)}/label", {"labels": dict(labels), **_because(reason)}, key)

    # --- many at once ---------------------------------------------------------------------------------------------

    def job(
        self,
        action: Action,
        executions: Sequence[str | int] = (),
        *,
        reason: str | None = None,
        labels: Mapping[str, str | None] | None = None,
        changes: Changes | None = None,
        targets_digest: str | None = None,
        key: str | None = None,
        **where: Unpack[Found],
    ) -> Job:
        """Asks the same of many executions: of those named, or of all that are found as `executions` finds them.

        client.job("abort", pipeline="train", status="queued", reason="wrong data").wait()

        `action` is abort, retry, rerun, label, hold or release. At most 10,000. `labels` belongs to "label", `changes`
        to "rerun": a dict of what `rerun` takes. With the `targets_digest` of a `preview` it acts on the very
        executions that this had found, or is refused. A `key` is as `run` says.
        """
        body = job_body(action, executions, reason, labels, changes and body_of(self.connection, changes), where)
        if targets_digest is not None:
            body["targets_digest"] = targets_digest
        return Job(self, self.write("POST", "/v1/jobs", body, key))

    def preview(
        self,
        action: Action,
        executions: Sequence[str | int] = (),
        *,
        labels: Mapping[str, str | None] | None = None,
        changes: Changes | None = None,
        **where: Unpack[Found],
    ) -> JobPreview:
        """What `job` would act on; changes nothing. Raises BadRequest where that is nothing."""
        body = job_body(action, executions, None, labels, changes and body_of(self.connection, changes), where)
        return JobPreview.read(self.connection.post("/v1/jobs", {**body, "dry_run": True}))

    def jobs(self) -> Iterator[JobSummary]:
        """The newest first."""
        return map(JobSummary.read, self.connection.pages("/v1/jobs", {}, PAGE_SIZE))

    def job_record(self, job: str) -> JobRecord:
        """How far a job is, by shard, and what was refused."""
        return JobRecord.read(self.connection.get(job_path(job)))

    # --- what became of it ----------------------------------------------------------------------------------------

    def execution(self, which: str | int) -> Execution:
        """The whole record, as it is now."""
        return with_files(Execution.read(self.connection.get(execution_path(which))), self.connection)

    def wait(self, which: str | int, timeout: float | None = WAIT_S, *, check: bool = True) -> Execution:
        """The record of an execution once it has ended. The ledger holds the question: nothing polls.

        Raises ExecutionFailed and ExecutionAborted, with the record, unless `check` is False; StillRunning (also a
        TimeoutError) after `timeout` seconds: an hour by default, None is never. A ledger that is away meanwhile is
        waited for, up to a minute.
        """
        [record] = deque(until_end(self.connection, str(which), deadline_of(timeout)), maxlen=1)
        return ended(with_files(Execution.read(record), self.connection), check=check)

    def executions(
        self, *, sort: str = "-created", page_size: int = PAGE_SIZE, **found: Unpack[Found]
    ) -> Iterator[ExecutionSummary]:
        """Executions, newest first, asked for a page at a time and only as far as they are taken.

        client.executions(pipeline="train", status=["failed", "aborted"], label="site=north", search="rate must")

        They are found by pipeline, version, status, twin, template, experiment, mode, trigger, label ("site=north"),
        created_by, batch, business_id, job, held, linked_to, runner, pool, failure (its kind), abort (its outcome),
        attempts_min, warnings, priority, created_after, created_before, started_…, ended_… (aware times) and search (a
        part of a name, a twin, a label or a failure's message). All that is given must hold; of several pipelines or
        statuses any, of several labels all.

        `sort` is created, started, ended, updated, waiting, took, total, number, priority, pipeline, status, twin,
        template or experiment, with - before it the largest first; what has no such value is last. `page_size` is at
        most 500.
        """
        filters = {**query_of(found), "sort": sort}
        return map(ExecutionSummary.read, self.connection.pages("/v1/executions", filters, page_size))

    def stats(self, by: By = "status", **found: Unpack[Found]) -> Stats:
        """How many executions, and how long they waited and ran, by status, pipeline, twin, template, experiment, mode,
        trigger or day (of creation, UTC), of all that `executions` finds. Only the 500 largest groups, or newest days.

        Raises BadRequest where that is too much to look through.
        """
        return Stats.read(self.connection.get("/v1/executions/stats", by=by, limit=STATS_MAX, **query_of(found)))

    def history(self, which: str | int) -> Iterator[Event]:
        """Every event of an execution up to now, oldest first, with the refusals between."""
        return map(Event.read, self.connection.pages(f"{execution_path(which)}/events", {}, PAGE_SIZE))

    def logs(
        self, which: str | int, *, follow: bool = False, attempt: int | None = None, step: str | None = None
    ) -> Iterator[LogLine]:
        """What an execution has printed and logged, in order; with `follow` also what it will, until it has ended.

        Raises BadRequest; Unavailable when the ledger stays away.
        """
        return map(LogLine.read, lines_of_log(self.connection, which, follow=follow, attempt=attempt, step=step))

    def events(self, after: str | None = None, *, execution: str | None = None) -> Iterator[Event]:
        """Events as they happen, without end; broken connections go on where they stopped, without loss or repeat.

        Begins behind the position `after`: the `position` of the last event that was seen; "" for the beginning of
        the log; by default now, which is when the first one is asked for. Raises Unavailable when the ledger stays
        away.
        """
        for frame in follow(self.connection, after, execution):
            if frame.data:
                yield Event.read(json.loads(frame.data) | {"position": frame.id})

    # --- what it recorded -----------------------------------------------------------------------------------------

    def artifacts(self, which: str | int) -> list[Artifact]:
        """What an execution has recorded: plots, tables, models, files; of each name and step the newest."""
        return artifacts(self.connection, which)

    def plots(self, which: str | int) -> list[Artifact]:
        """The plots among them."""
        return [artifact for artifact in self.artifacts(which) if artifact.kind == "plot"]

    def models(self, key: str | None = None, pipeline: str | None = None) -> Iterator[Model]:
        """Trained models, newest first."""
        return map(Model.read, self.connection.pages("/v1/models", {"key": key, "pipeline": pipeline}, PAGE_SIZE))

    def model(self, key: str, version: str | None = None) -> File:
        """One of them, by default the newest of this key."""
        return model_file(self.connection, key, version)

    def metrics(
        self,
        *,
        execution: str | int | None = None,
        pipeline: str | None = None,
        name: str | None = None,
        twin: str | None = None,
    ) -> Iterator[Metric]:
        """What executions measured, the newest first: one for each metric of each."""
        filters = {"execution": execution, "pipeline": pipeline, "name": name, "twin": twin}
        return map(Metric.read, self.connection.pages("/v1/metrics", filters, PAGE_SIZE))

    def upload(self, source: Path | str | BinaryIO | File) -> File:
        """Sends a file in, to be an input of several runs: `run` does so by itself. A `str` is a path."""
        return upload(self.connection, source)

    @property
    def data(self) -> ClientData:
        """What pipelines share, under paths: put, get, list, delete."""
        return ClientData(self.connection)

    # --- what there is --------------------------------------------------------------------------------------------

    def pipelines(self) -> Iterator[PipelineVersion]:
        """The newest version of each pipeline, by name."""
        return map(PipelineVersion.read, self.connection.pages("/v1/pipelines", {}, PAGE_SIZE))

    def pipeline(self, name: str, version: int | None = None) -> PipelineVersion:
        """One version of a pipeline, by default the newest."""
        return PipelineVersion.read(self.connection.get(pipeline_path(name), version=version))

    def explain(self, which: str | int) -> Explanation:
        """Why an execution is not running, and what to do about it."""
        return Explanation.read(self.connection.get(f"{execution_path(which)}/explain"))

    def queue(self) -> Queue:
        """What waits, by pool, pipeline and version."""
        return Queue.read(self.connection.get("/v1/queue"))

    def runners(self) -> Runners:
        """Who does the work, and what they hold."""
        return Runners.read(self.connection.get("/v1/runners"))

    def write(self, method: str, path: str, body: dict[str, Any] | None, key: str | None = None) -> dict[str, Any]:
        """The ledger's decision on a write. Raises OutcomeUnknown where there is none in time."""
        key = fresh_key() if key is None else key
        answer = write_until_decided(self.connection, method, path, body, key, time.monotonic() + DECIDE_S)
        if undecided(answer):
            raise OutcomeUnknown(
                f"The ledger at {self.connection.address.url} has taken this in (command {answer['command_id']}), and "
                f"has not decided it in {DECIDE_S:.0f} s. The same call with key={key!r} tells what came of it."
            )
        return answer


def _because(reason: str | None) -> dict[str, str]:
    return {} if reason is None else {"reason": reason}
