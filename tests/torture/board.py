"""What happened in an overload, as a table."""

from __future__ import annotations

import os

from rich.console import Console
from rich.table import Table

from torture.probes import Latencies
from torture.trial import Outcome


def show(outcome: Outcome) -> None:
    table = Table("what", "", title=f"Overload for {outcome.seconds:.0f} s", title_justify="left")
    for row in rows(outcome):
        table.add_row(*row)
    Console(width=120).print(table)


def rows(outcome: Outcome) -> list[tuple[str, str]]:
    seconds, statuses = outcome.seconds, sorted(outcome.statuses.items())
    warm = {name: f"{outcome.warm_mb(name):.0f} MB +{outcome.growth_mb(name):.0f}" for name in outcome.memory}
    return [
        ("decided calmly, each alone", f"{outcome.calm_per_s:,.0f}/s"),
        ("asked for", f"{outcome.asked:,} executions, {outcome.asked / seconds:,.0f}/s"),
        ("accepted", f"{outcome.accepted:,} executions, {outcome.accepted / seconds:,.0f}/s"),
        ("asked for each accepted", f"{outcome.asked / max(1, outcome.accepted):,.1f}"),
        ("answers", ", ".join(f"{status}: {count:,}" for status, count in statuses)),
        ("slowest answer", f"{max(one.slowest_s for one in outcome.counts):.2f} s"),
        ("aborts meanwhile", latencies(outcome.aborts)),
        ("reads meanwhile", latencies(outcome.reads)),
        ("ends of what ran, late by at most", f"{max(outcome.evidence.late_s):.2f} s"),
        ("undecided when the load ended", f"{outcome.undecided_at_end:,.0f}"),
        ("all decided and in the views after", f"{outcome.settled_s:.1f} s"),
        ("all accepted had ended after", f"{outcome.ended_s:.1f} s"),
        *((f"memory of {name}", text) for name, text in warm.items()),
        ("load average", " ".join(f"{load:.1f}" for load in os.getloadavg())),
    ]


def latencies(found: Latencies) -> str:
    return f"{len(found.seconds):,}: p50 {found.at(0.5):.2f} s, p99 {found.at(0.99):.2f} s, max {found.at(1.0):.2f} s"
