"""`exledger list` and `exledger stats`: find executions, and count them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Annotated, Any

import typer

from ..errors import BadRequest
from ..sdk.client.address import DEFAULT_FOLDER
from ..sdk.pipelines.durations import duration_ms as parsed_ms
from .connection import DataDir, connect
from .executions import PAGE_MAX
from .run import Mode
from .terminal.inputs import parse_labels
from .terminal.output import AsJson, console, date_time, duration_ms, show_json, show_json_lines, show_note, show_table

PERCENTILES = ("p50", "p95", "p99")
WIDE = 100  # from so many columns on a list has room for a reason
WHEN = "WHEN"


class Status(StrEnum):
    QUEUED = "queued"
    STARTED = "started"
    ABORT_REQUESTED = "abort_requested"
    ABORTED = "aborted"
    FAILED = "failed"
    COMPLETED = "completed"


class By(StrEnum):
    STATUS = "status"
    PIPELINE = "pipeline"
    TWIN = "twin"
    TEMPLATE = "template"
    EXPERIMENT = "experiment"
    MODE = "mode"
    TRIGGER = "trigger"
    DAY = "day"


Pipelines = Annotated[list[str] | None, typer.Option("--pipeline", help="Only of this pipeline. Can be repeated.")]
Statuses = Annotated[list[Status] | None, typer.Option("--status", help="Only with this status. Can be repeated.")]
OnTwin = Annotated[str | None, typer.Option("--twin", help="Only on this twin.")]
OnTemplate = Annotated[str | None, typer.Option("--template", help="Only on twins of this template.")]
OfExperiment = Annotated[str | None, typer.Option("--experiment", metavar="KEY", help="Only of this experiment.")]
OfTrigger = Annotated[str | None, typer.Option("--trigger", help="Only asked for by this: caller, batch, job.")]
OfMode = Annotated[Mode | None, typer.Option("--mode", help="Only of this mode.")]
Labels = Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="Only with all these labels.")]
Search = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Only with this in name, twin, a label or the failure's message.")
]
Since = Annotated[str | None, typer.Option(metavar=WHEN, help="Created since: 2h or 7d ago, 2026-11-22, …")]
Until = Annotated[str | None, typer.Option(metavar=WHEN, help="Created before.")]
CreatedBy = Annotated[str | None, typer.Option(metavar="ACTOR", help="Only what this actor asked for.")]
Batch = Annotated[str | None, typer.Option(metavar="ID", help="Only of this batch.")]
Failure = Annotated[str | None, typer.Option(metavar="KIND", help="Only failed like this: user, lost, timeout, …")]
Sort = Annotated[
    str | None,
    typer.Option(
        help="created, started, ended, updated, waiting, took, total, number, priority, pipeline, status, twin, "
        "template or experiment; with - before it, the largest first. By default: -created."
    ),
]


def list_(
    pipeline: Pipelines = None,
    status: Statuses = None,
    twin: OnTwin = None,
    template: OnTemplate = None,
    experiment: OfExperiment = None,
    trigger: OfTrigger = None,
    mode: OfMode = None,
    label: Labels = None,
    search: Search = None,
    since: Since = None,
    until: Until = None,
    created_by: CreatedBy = None,
    batch: Batch = None,
    failure: Failure = None,
    version: Annotated[int | None, typer.Option(min=1, help="Only of this version of the pipeline.")] = None,
    runner: Annotated[str | None, typer.Option(help="Only with this runner, at the newest attempt.")] = None,
    pool: Annotated[str | None, typer.Option(help="Only in this pool.")] = None,
    abort: Annotated[str | None, typer.Option(metavar="OUTCOME", help="Only aborted like this.")] = None,
    attempts: Annotated[int | None, typer.Option(min=1, help="Only with at least so many attempts.")] = None,
    warnings: Annotated[bool | None, typer.Option("--warnings/--no-warnings", help="Only with, or without.")] = None,
    priority: Annotated[int | None, typer.Option(help="Only of this priority.")] = None,
    held: Annotated[bool | None, typer.Option("--held/--not-held", help="Only held back, or not.")] = None,
    business_id: Annotated[str | None, typer.Option(metavar="ID", help="Only with this business id.")] = None,
    job: Annotated[str | None, typer.Option(metavar="ID", help="Only what this job acted on, or made.")] = None,
    sort: Sort = None,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    everything: Annotated[bool, typer.Option("--all", help="However many there are.")] = False,
    data_dir: DataDir = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """List executions, newest first."""
    filters = {
        **narrowed(pipeline, status, twin, mode, label, search, since, until, created_by, batch, failure),
        **of_catalog(template, experiment, trigger),
        "version": version,
        "runner": runner,
        "pool": pool,
        "abort": abort,
        "attempts_min": attempts,
        "warnings": warnings,
        "priority": priority,
        "held": held,
        "business_id": business_id,
        "job": job,
        "sort": sort,
    }
    with connect(data_dir) as ledger:
        found = ledger.pages("/v1/executions", filters, PAGE_MAX if everything else min(limit + 1, PAGE_MAX))
        shown = found if everything else islice(found, limit)
        if as_json:
            show_json_lines(shown)
        else:
            _show(list(shown))
            if next(found, None):
                show_note("There are more: --limit N or --all.")


def stats(
    by: Annotated[By, typer.Option(help="What they are counted by; days are those of creation, in UTC.")] = By.STATUS,
    pipeline: Pipelines = None,
    status: Statuses = None,
    twin: OnTwin = None,
    template: OnTemplate = None,
    experiment: OfExperiment = None,
    trigger: OfTrigger = None,
    mode: OfMode = None,
    label: Labels = None,
    search: Search = None,
    since: Since = None,
    until: Until = None,
    created_by: CreatedBy = None,
    batch: Batch = None,
    failure: Failure = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many lines.")] = 20,
    data_dir: DataDir = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Count executions, with the percentiles of how long they waited and ran.

    They waited until their newest attempt began; what earlier attempts ran is in it.
    """
    filters = {
        **narrowed(pipeline, status, twin, mode, label, search, since, until, created_by, batch, failure),
        **of_catalog(template, experiment, trigger),
    }
    with connect(data_dir) as ledger:
        report = ledger.get("/v1/executions/stats", by=by, limit=limit, **filters)
    if as_json:
        show_json(report)
        return
    columns = (by.upper(), "COUNT", "WAITED P50", "P95", "P99", "TOOK P50", "P95", "P99")
    show_table(columns, [_stats_row(group) for group in report["items"]])
    if report["left_off"]:
        show_note(f"And {report['left_off']} more: --limit N.")


def narrowed(
    pipeline: list[str] | None,
    status: list[Status] | None,
    twin: str | None,
    mode: Mode | None,
    label: list[str] | None,
    search: str | None,
    since: str | None,
    until: str | None,
    created_by: str | None,
    batch: str | None,
    failure: str | None,
) -> dict[str, Any]:
    """As the gateway names them; None leaves one out."""
    return {
        "pipeline": pipeline or None,
        "status": status or None,
        "twin": twin,
        "mode": mode,
        "label": [f"{key}={value}" for key, value in parse_labels(label or ()).items()] or None,
        "q": search,
        "created_by": created_by,
        "batch": batch,
        "failure": failure,
        "created_after": since and moment(since),
        "created_before": until and moment(until),
    }


def of_catalog(template: str | None, experiment: str | None, trigger: str | None) -> dict[str, Any]:
    return {"template": template, "experiment": experiment, "trigger": trigger}


def moment(when: str) -> str:
    """A duration before now, or a date with or without a time, which are local unless they name their zone.

    Raises BadRequest.
    """
    try:
        return (datetime.now(UTC) - timedelta(milliseconds=parsed_ms(when))).isoformat()
    except (BadRequest, OverflowError):
        pass  # so it must be a date
    try:
        return datetime.fromisoformat(when).astimezone(UTC).isoformat()
    except (ValueError, OverflowError) as error:
        raise BadRequest(f"{when!r} is no moment. Write 90s, 2h or 7d ago, 2026-11-22, or 2026-11-22T06:30.") from error


def _show(records: Sequence[Mapping[str, Any]]) -> None:
    """Why something ended badly comes last, where there is room and something to tell."""
    tells = console().width >= WIDE and any(each.get("why") for each in records)
    columns = ("NAME", "STATUS", "MODE", "TWIN", "CREATED", "TOOK", *(("WHY",) if tells else ()))
    whys = ([(each.get("why") or "").partition("\n")[0]] if tells else [] for each in records)
    show_table(columns, [(*_row(each), *why) for each, why in zip(records, whys, strict=True)])


def _row(record: Mapping[str, Any]) -> tuple[Any, ...]:
    return (
        record["name"],
        record["status"],
        record["mode"],
        record["twin"],
        date_time(record["created_at"]),
        duration_ms(record["execution_ms"]),
    )


def _stats_row(group: Mapping[str, Any]) -> tuple[Any, ...]:
    times = (group[name] or {} for name in ("waiting_ms", "execution_ms"))
    return (
        group["value"] or "none",
        group["count"],
        *(duration_ms(each.get(it)) for each in times for it in PERCENTILES),
    )
