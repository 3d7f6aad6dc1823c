"""`exledger jobs`: the same action on many executions, with a dry run, a progress bar, and what was refused."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Mapping
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BadRequest
from ..sdk.client.address import DEFAULT_FOLDER, job_path
from ..sdk.client.waiting import write_until_decided
from .connection import DataDir, connect
from .executions import PAGE_MAX, Reason
from .finding import (
    Batch,
    CreatedBy,
    Failure,
    Labels,
    OfExperiment,
    OfMode,
    OfTrigger,
    OnTemplate,
    OnTwin,
    Pipelines,
    Search,
    Since,
    Statuses,
    Until,
    narrowed,
    of_catalog,
)
from .run import Key
from .terminal.examples import examples
from .terminal.inputs import parse_label_change
from .terminal.output import (
    AsJson,
    bars,
    console,
    date_time,
    filled,
    left_with,
    show_fields,
    show_json,
    show_json_lines,
    show_note,
    show_table,
)

if TYPE_CHECKING:
    from ..sdk.client.http import Connection

ASK_S = 1.0  # for how long the ledger holds the question for a job's end, between two steps of the bar

jobs = typer.Typer(
    help="The same action on many executions.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class Action(StrEnum):
    ABORT = "abort"
    RETRY = "retry"
    RERUN = "rerun"
    LABEL = "label"
    HOLD = "hold"
    RELEASE = "release"


@jobs.command("run", epilog=examples("jobs run"))
def run(
    action: Annotated[Action, typer.Argument(help="What to do.")],
    executions: Annotated[
        list[str] | None,
        typer.Argument(metavar="EXECUTION…", help="Ids, numbers or names; or find them, as `list` does."),
    ] = None,
    pipeline: Pipelines = None,
    status: Statuses = None,
    twin: OnTwin = None,
    mode: OfMode = None,
    label: Labels = None,
    search: Search = None,
    since: Since = None,
    until: Until = None,
    created_by: CreatedBy = None,
    batch: Batch = None,
    failure: Failure = None,
    template: OnTemplate = None,
    experiment: OfExperiment = None,
    trigger: OfTrigger = None,
    set_label: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Of `label`; without a value: take it away.")
    ] = None,
    newest: Annotated[bool, typer.Option("--newest", help="Of `rerun`: its pipeline's newest version.")] = False,
    from_failed: Annotated[
        bool, typer.Option("--from-failed", help="Of `rerun`: reuse what completed steps gave, and run the others.")
    ] = False,
    reason: Reason = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would act on.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether to go on.")] = False,
    key: Key = None,
    data_dir: DataDir = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Do the same with many executions; first it says with how many."""
    where = {
        **narrowed(pipeline, status, twin, mode, label, search, since, until, created_by, batch, failure),
        **of_catalog(template, experiment, trigger),
    }
    said = {
        "executions": executions,
        "where": {name: value for name, value in where.items() if value is not None},
        "labels": parse_label_change(set_label or ()),
        "changes": filled({"newest": newest or None, "from_failed": from_failed or None}),
        "reason": reason,
    }
    if action is Action.LABEL and not set_label:
        raise typer.BadParameter("say which labels: --set KEY=VALUE, or --set KEY= to take one away")
    body = {"action": action.value, **{name: value for name, value in said.items() if value}}
    with connect(data_dir) as ledger:
        if dry_run or not yes:
            preview = ledger.post("/v1/jobs", {**body, "dry_run": True})
            if dry_run:
                return _show_preview(preview, as_json)
            _confirm(preview)
            body["targets_digest"] = preview["targets_digest"]
        opened = write_until_decided(ledger, "POST", "/v1/jobs", body, key or f"cli-{uuid.uuid4()}", deadline=0)
        record = _follow(ledger, opened, quiet=as_json)
    return _show(record, as_json)


@jobs.command("list", epilog=examples("jobs list"))
def list_(
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    data_dir: DataDir = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with connect(data_dir) as ledger:
        found = islice(ledger.pages("/v1/jobs", {}, min(limit, PAGE_MAX)), limit)
        if as_json:
            show_json_lines(found)
        else:
            columns = ("ID", "ACTION", "STATUS", "DONE", "REFUSED", "OF", "WHO", "OPENED")
            show_table(columns, [_row(each) for each in found])


@jobs.command("get", epilog=examples("jobs get"))
def get(
    job: Annotated[str, typer.Argument(metavar="JOB", help="Its id.")],
    data_dir: DataDir = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Show how far a job is."""
    with connect(data_dir) as ledger:
        _show(ledger.get(job_path(job)), as_json)


def _confirm(preview: Mapping[str, Any]) -> None:
    """Raises BadRequest where nobody can be asked."""
    if not sys.stdin.isatty():
        raise BadRequest(f"This would {preview['action']} {_executions(preview)}. Add --yes to do it.")
    typer.confirm(f"{preview['action'].capitalize()} {_executions(preview)}?", abort=True)


def _executions(preview: Mapping[str, Any]) -> str:
    return "1 execution" if preview["count"] == 1 else f"{preview['count']:,} executions"


def _follow(ledger: Connection, opened: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    """The job's record at its end. Ctrl-C leaves it to the ledger, which goes on."""
    if "id" not in opened or opened.get("status") == "received":
        raise BadRequest(f"The ledger has not decided yet: exledger jobs list. (Command {opened['command_id']}.)")
    with left_with(f"The job goes on: exledger jobs get {opened['id']}"), bars(quiet) as tell:
        while True:
            record = ledger.get(job_path(opened["id"]), wait=ASK_S)
            tell(record["action"], record["count"] - record["waiting"], record["count"])
            if record["status"] == "ended":
                return record


def _show_preview(preview: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(preview)
        return
    show_table(("NAME", "STATUS"), [(each["name"], each["status"]) for each in preview["sample"]])
    more = preview["count"] - len(preview["sample"])
    unshown = f" ({more} are not shown)" if more else ""
    console().print(f"This would {preview['action']} {_executions(preview)}{unshown}. Nothing was done.")


def _show(record: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(record)
        return
    fields = ("id", "action", "status", "count", "done", "refused", "waiting", "codes", "created_by", "reason")
    show_fields({name: record[name] for name in fields if record[name] not in (None, {})})
    for refusal in record["refusals"]:
        show_note(f"{refusal['id']}: {refusal.get('detail') or refusal['code']}")


def _row(job: Mapping[str, Any]) -> tuple[Any, ...]:
    words = (job["id"], job["action"], job["status"], job["done"], job["refused"], job["count"], job["created_by"])
    return (*words, date_time(job["opened_at"]))
