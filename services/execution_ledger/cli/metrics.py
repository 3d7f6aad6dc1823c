"""`exledger metrics`: what executions measured, side by side."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..sdk.client.address import DEFAULT_FOLDER
from .connection import DataDir, connect
from .executions import PAGE_MAX
from .terminal.output import AsJson, show_json_lines, show_note, show_table


def metrics(
    which: Annotated[str | None, typer.Argument(metavar="[EXECUTION]", help="Only of this one.")] = None,
    pipeline: Annotated[str | None, typer.Option(help="Only of this pipeline.")] = None,
    name: Annotated[str | None, typer.Option(help="Only this metric.")] = None,
    twin: Annotated[str | None, typer.Option(help="Only of this twin.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest ones.")] = 100,
    data_dir: DataDir = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """List and compare what executions measured, the newest first."""
    filters = {"execution": which, "pipeline": pipeline, "name": name, "twin": twin}
    with connect(data_dir) as ledger:
        pages = ledger.pages("/v1/metrics", filters, min(limit, PAGE_MAX))
        found = [item for item, _ in zip(pages, range(limit), strict=False)]
    if as_json:
        show_json_lines(found)
        return
    columns = ("EXECUTION", "TWIN", "METRIC", "STEP", "VALUE", "COUNT", "LEAST", "GREATEST")
    show_table(columns, [_row(each) for each in found])
    if not found:
        show_note("There is none. A pipeline records one with ctx.metric(name, value).")


def _row(metric: dict[str, Any]) -> tuple[Any, ...]:
    numbers = (f"{metric['value']:g}", metric["count"], f"{metric['min']:g}", f"{metric['max']:g}")
    return (metric["execution"], metric["twin"], metric["name"], metric["step"], *numbers)
