"""`exledger bench`: how quick this ledger is, as a client sees it, and how quick it is back after a restart.

Each latency is measured by itself, one execution at a time, so that no measurement disturbs another.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BadRequest, Unavailable
from ..sdk.client.address import DEFAULT_FOLDER, execution_path, pipeline_path
from .connection import DataDir, connect
from .terminal.examples import examples
from .terminal.output import AsJson, bars, console, duration, show_json, show_note, show_table

if TYPE_CHECKING:
    from ..sdk.client.http import Connection
    from ..trials.bench.restart import Measured

STAMP = "stamp"  # returns when its first line ran, by the wall clock
WARM_UP = 10  # executions that do not count: connections, caches, first imports
QUIET_S = 0.02  # nothing is asked meanwhile: the function starts undisturbed
END_S = 30.0

bench = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@bench.callback()
def _commands() -> None:
    """Measure this ledger."""


@bench.command(epilog=examples("bench latency"))
def latency(
    count: Annotated[int, typer.Option(min=1, max=100_000, help="Executions per measurement.")] = 200,
    data_dir: DataDir = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Measure from a POST to the function's first line, to the list, and to its visible end.

    Runs the demo's pipeline `stamp`; the runner has to be on this machine, for its clock is compared with ours.
    """
    with connect(data_dir) as ledger:
        _check_stamp(ledger)
        before = _load()
        measured = {what: _measure(ledger, what, measure, count) for what, measure in MEASUREMENTS.items()}
    machine = {"cores": os.cpu_count(), "load_before": before, "load_after": _load()}
    if as_json:
        show_json({"count": count, **machine, "latency_ms": measured})
        return
    table = [(what, *map(_ms, each.values())) for what, each in measured.items()]
    show_table(("FROM POST TO", "P50", "P99", "MAX"), table)
    load = f"load {before} before and {machine['load_after']} after"
    show_note(f"{count} executions each, one at a time; {machine['cores']} cores, {load}.")


@bench.command(epilog=examples("bench restart"))
def restart(
    events: Annotated[list[int] | None, typer.Option(min=1_000, help="The length of a history; give several.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure how long ledger and dispatcher take to start after a long history, and what memory they hold then.

    Runs a Kafka of its own in a temporary folder: two million events take 2 GB of it, and some ten minutes.
    """
    before = _load()
    with bars(as_json) as tell:
        measured = asyncio.run(_restarts(events or [10_000], tell))
    machine = {"cores": os.cpu_count(), "load_before": before, "load_after": _load()}
    if as_json:
        show_json({**machine, "restarts": [asdict(each) for each in measured]})
        return
    rows = [
        (f"{one.events:,}", one.service, one.snapshots, duration(one.ready_s), _mb(one.pss_mb), _mb(one.peak_mb))
        for one in measured
    ]
    show_table(("EVENTS", "SERVICE", "SNAPSHOTS", "READY IN", "MEMORY", "AT MOST"), rows)
    show_note(f"{machine['cores']} cores, load {before} before and {machine['load_after']} after.")


async def _restarts(histories: list[int], tell: Callable[[str, int, int], None]) -> list[Measured]:
    from ..embedded.folder import ephemeral_folder
    from ..embedded.kafka import EmbeddedKafka
    from ..trials.bench.restart import measure_restarts

    measured: list[Measured] = []
    with ephemeral_folder() as folder:
        async with EmbeddedKafka(folder / "kafka") as broker:
            for events in histories:
                objects = folder / f"objects-{events}"
                measured += await measure_restarts(broker.bootstrap_servers, objects, events, tell)
    return measured


def _check_stamp(ledger: Connection) -> None:
    try:
        ledger.get(pipeline_path(STAMP))
    except BadRequest as error:
        raise BadRequest(
            f"{error}\nThe pipeline {STAMP!r} is among those that `exledger dev` serves where there is no "
            "./pipelines.py: exledger dev --app execution_ledger.demo.first_pipelines"
        ) from error


def _measure(ledger: Connection, what: str, measure: Callable[[Connection], float], count: int) -> dict[str, float]:
    with console(stderr=True).status(f"POST to {what}"):
        for _ in range(WARM_UP):
            measure(ledger)
        return summary(measure(ledger) for _ in range(count))


def _until_first_line(ledger: Connection) -> float:
    posted = time.time()
    execution = _submit(ledger)
    ledger.pause(QUIET_S)
    began: float = _ended(ledger, execution)["outputs"]["began"]
    return began - posted


def _until_listed(ledger: Connection) -> float:
    began = time.perf_counter()
    execution = _submit(ledger)
    while True:
        newest = ledger.get("/v1/executions", limit=20)["items"]
        took = time.perf_counter() - began
        if any(each["id"] == execution["id"] for each in newest):
            break
        if took > END_S:
            raise Unavailable(f"{execution['name']} is not in the list after {END_S:.0f} s.")
    _ended(ledger, execution)
    return took


def _until_end_visible(ledger: Connection) -> float:
    began = time.perf_counter()
    _ended(ledger, _submit(ledger))
    return time.perf_counter() - began


MEASUREMENTS: dict[str, Callable[[Connection], float]] = {
    "first line": _until_first_line,
    "in the list": _until_listed,
    "completed visible": _until_end_visible,
}


def _submit(ledger: Connection) -> dict[str, Any]:
    request = {"pipeline": STAMP, "labels": {"bench": "latency"}}
    execution = ledger.post("/v1/executions", request)
    if execution["status"] == "received":
        raise Unavailable("The ledger does not decide now, so there is nothing to measure. See: exledger info")
    return execution


def _ended(ledger: Connection, execution: dict[str, Any]) -> dict[str, Any]:
    record = ledger.get(execution_path(execution["id"]), wait=END_S)
    if record["status"] != "completed":
        name = record["name"]
        raise Unavailable(f"{name} is {record['status']} after {END_S:.0f} s. See: exledger explain {name}")
    return record


def summary(seconds: Iterable[float]) -> dict[str, float]:
    """Milliseconds, by nearest rank: every number was really measured."""
    ordered = sorted(seconds)

    def at(share: float) -> float:
        return round(ordered[math.ceil(share * len(ordered)) - 1] * 1_000, 2)

    return {"p50": at(0.5), "p99": at(0.99), "max": at(1.0)}


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:.1f} ms"


def _mb(megabytes: float) -> str:
    return f"{megabytes:.0f} MB"


def _load() -> float:
    """Processes that want a core, averaged over the last minute."""
    return round(os.getloadavg()[0], 2)
